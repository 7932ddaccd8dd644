"""The law over processes: two and four of them, and two under DeepSpeed ZeRO-3, train what one process trains."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.cuts import main, train_cut
from tests.support.processes import together
from tests.trainer.test_exactness import TOLERANCE, check_histograms, distance, losses


ROOT = Path(__file__).parents[2]
EVALUATION = dict(eval_strategy="steps", eval_steps=4, per_device_eval_batch_size=4)

# What changes the result, and with it the cuts of two processes that must give the result of one
CASES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "4 steps per generation": (dict(steps=4), [8, 4, 1]),
    "1 step per generation": (dict(steps=1), [8, 1]),
    "no anchor": (dict(options=dict(loss_type="real_no_anchor")), [1]),
    "bce": (dict(options=dict(loss_type="bce")), [2]),
    "lora": (dict(lora=True), [2]),
    "gradient checkpointing": (dict(checkpointing=True), [2]),
    "a group over both processes": (dict(steps=1, options=dict(num_generations=16)), [8, 2]),
    "groups larger than a micro-step": (dict(options=dict(num_generations=16)), [4]),
    "generation used twice": (dict(steps=2, options=dict(num_iterations=2)), [2]),
    "kl and entropy": (dict(options=dict(beta=0.2, kl_target="old", entropy_coef=0.05)), [1]),
    "terms on trained rollouts": (dict(options=dict(beta=0.2, kl_target="old", regularize="trained")), [1]),
    "a limit to the mismatch": (dict(steps=2, options=dict(mismatch_limit=150.0)), [2]),
    "tool mask": (dict(env_mask=True), [2]),
    "mixture of experts": (dict(moe=True, steps=2), [2]),
    "every prompt shared": (dict(options=dict(num_generations=8, share_prompts=True)), [8, 2]),
    "no prompt shared": (dict(options=dict(share_prompts=False)), [2]),
    "evaluation": (dict(eval=7, options=EVALUATION), [4]),
}
# Of four processes
WIDE_CASES: dict[str, tuple[dict[str, Any], int]] = {
    "4 steps per generation": (dict(steps=4), 1),
    "a group over all processes": (dict(steps=1, options=dict(num_generations=16)), 4),
    "lora, groups larger than a micro-step": (dict(lora=True, options=dict(num_generations=16)), 2),
    "evaluation": (dict(eval=7, options=EVALUATION), 2),
}
ACCELERATE = "-m accelerate.commands.launch --multi_gpu --num_machines 1 --num_processes 4 --mixed_precision no"
ACCELERATE += " --main_process_port 0"  # a free one
ZERO3 = dict(
    train_micro_batch_size_per_gpu="auto",
    gradient_accumulation_steps="auto",
    gradient_clipping="auto",
    zero_optimization=dict(stage=3, stage3_param_persistence_threshold=0),
    zero_allow_untested_optimizer=True,
    zero_force_ds_cpu_optimizer=False,
    optimizer=dict(
        type="AdamW", params=dict(lr="auto", betas="auto", eps="auto", weight_decay="auto", torch_adam=True)
    ),
)


def train_together(cuts: list[dict[str, Any]], folder: Path, program: Callable = main) -> list[tuple]:
    """Train every cut in two processes; parameters and log of each."""
    (folder / "cuts.json").write_text(json.dumps(cuts))
    together(program, folder / "cuts.json", folder / "results.pt", said=folder / "said.txt")
    return torch.load(folder / "results.pt", weights_only=False)


def train_launched(cuts: list[dict[str, Any]], folder: Path, launcher: str) -> list[tuple]:
    """The same in the processes of a launcher."""
    (folder / "cuts.json").write_text(json.dumps(cuts))
    program = ["tests/support/cuts.py", str(folder / "cuts.json"), str(folder / "results.pt")]
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    command = [sys.executable, *launcher.split(), *program]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-6000:]
    return torch.load(folder / "results.pt", weights_only=False)


def check(result: tuple, expected: tuple) -> None:
    (trained, log), (base, base_log) = result, expected
    assert distance(base, trained) < TOLERANCE
    assert losses(log) == pytest.approx(losses(base_log), abs=1e-4)
    check_histograms(log, base_log)
    evaluations, base_evaluations = ([e for e in entries if "eval_loss" in e] for entries in (log, base_log))
    assert len(evaluations) == len(base_evaluations)
    for one, other in zip(evaluations, base_evaluations, strict=True):
        for name in ("eval_loss", "eval_reward", "eval_groups/mixed", "eval_entropy"):
            assert one[name] == pytest.approx(other[name], abs=1e-4), name


def one_process(feature: dict[str, Any]) -> tuple:
    """The widest cut of one process."""
    return train_cut(feature | dict(batch=16))


@pytest.fixture(scope="module")
def gloo(tmp_path_factory) -> dict[tuple[str, int], tuple]:
    """All cuts in one launch: starting processes costs more than training."""
    keys = [(name, batch) for name, (_, batches) in CASES.items() for batch in batches]
    cuts = [dict(steps=4) | CASES[name][0] | dict(batch=batch) for name, batch in keys]
    return dict(zip(keys, train_together(cuts, tmp_path_factory.mktemp("gloo")), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_does(name, gloo):
    feature, batches = CASES[name]
    expected = one_process(dict(steps=4) | feature)
    for batch in batches:
        check(gloo[name, batch], expected)


def test_four_processes_of_accelerate_launch_train_what_one_does(tmp_path):
    cuts = [dict(steps=4) | feature | dict(batch=batch) for feature, batch in WIDE_CASES.values()]
    for (feature, _), result in zip(WIDE_CASES.values(), train_launched(cuts, tmp_path, ACCELERATE), strict=True):
        check(result, one_process(dict(steps=4) | feature))


def test_zero3_trains_what_one_process_does(tmp_path):
    pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    features = [
        dict(steps=4),
        dict(steps=4, options=dict(share_prompts=True)),
        dict(steps=1),
        dict(steps=4, options=dict(loss_type="bce")),
        dict(steps=2, options=dict(mismatch_limit=150.0)),
    ]
    cuts = [
        feature | dict(batch=batch, options=feature.get("options", {}) | dict(deepspeed=ZERO3))
        for feature, batch in zip(features, [8, 2, 4, 4, 2], strict=True)
    ]
    for feature, result in zip(features, train_together(cuts, tmp_path), strict=True):
        check(result, one_process(feature))
