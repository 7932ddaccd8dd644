"""Two and four processes, and two under DeepSpeed ZeRO-3 and FSDP2, train what one process trains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.settings.run import starting_model
from tests.support import fsdp
from tests.support.cuts import main, train_cut
from tests.support.processes import start, together
from tests.support.scripts import python
from tests.support.tiny import tiny_model
from tests.trainer import two_processes
from tests.trainer.test_exactness import TOLERANCE, check_histograms, distance, losses


REENTRANT = dict(gradient_checkpointing_kwargs=dict(use_reentrant=True), pack_rollouts=False)
EVALUATION = dict(eval_strategy="steps", eval_steps=4, per_device_eval_batch_size=4)

# What changes the result, and with it the cuts of two processes that must give the result of one
CASES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "4 steps per generation": (dict(steps=4), [8, 1]),
    "a group over both processes": (dict(steps=1, options=dict(num_generations=16)), [8, 2]),
    "groups larger than a micro-step": (dict(options=dict(num_generations=16)), [4]),
    "generation used twice": (dict(steps=2, options=dict(num_iterations=2)), [2]),
    "kl and entropy": (dict(options=dict(beta=0.2, kl_target="old", entropy_coef=0.05)), [1]),
    "terms on trained rollouts": (dict(options=dict(beta=0.2, kl_target="old", regularize="trained")), [1]),
    "a limit to the mismatch": (dict(steps=2, options=dict(mismatch_limit=150.0)), [2]),
    "tool mask": (dict(env_mask=True), [2]),
    "mixture of experts": (dict(moe=True, steps=2), [2]),
    "every prompt shared": (dict(options=dict(num_generations=8, share_prompts=True)), [8, 2]),
    "reentrant checkpointing": (dict(steps=2, checkpointing=True, options=REENTRANT), [8]),
    "custom loss": (dict(options=dict(loss_type="docs.examples.own_objective:all_pairs")), [1]),
    "custom loss of every class": (dict(options=dict(loss_type="tests.objective.test_own:every_class")), [8]),
    "custom labels": (dict(graded=True, options=dict(label_func="docs.examples.own_objective:quarters")), [1]),
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
ADAMW = dict(lr="auto", betas="auto", eps="auto", weight_decay="auto", torch_adam=True)
ZERO3 = dict(
    train_micro_batch_size_per_gpu="auto",
    gradient_accumulation_steps="auto",
    gradient_clipping="auto",
    zero_optimization=dict(stage=3, stage3_param_persistence_threshold=0),
    zero_allow_untested_optimizer=True,
    zero_force_ds_cpu_optimizer=False,
    optimizer=dict(type="AdamW", params=ADAMW),
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
    run = python(*launcher.split(), *program)
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
    starting_model(long_rope=True, rounded=False).save_pretrained(tmp_path / "model")
    # TRL makes checkpointing reentrant here; some forwards have rows of one side of the limit on one process alone
    long_rope = dict(steps=2, lora=True, checkpointing=True, path=str(tmp_path / "model"))
    features = [(4, dict(steps=1), {}), (2, dict(steps=2), dict(mismatch_limit=150.0, share_prompts=True))]
    features.append((2, long_rope, {}))
    cuts = [cut | dict(batch=batch, options=options | dict(deepspeed=ZERO3)) for batch, cut, options in features]
    for (_, cut, options), result in zip(features, train_together(cuts, tmp_path), strict=True):
        check(result, one_process(cut | dict(options=options)))


# What `tests/settings` leaves out, with plain SGD, so that the scale of a gradient shows
RATE = 0.03
FSDP2: dict[str, dict[str, Any]] = {
    "KL to the reference": dict(model={}, options=dict(beta=0.2)),
    "KL to the old policy, LoRA": dict(lora=True, options=dict(beta=0.2, kl_target="old")),
    "LoRA, KL, gradient checkpointing": dict(lora=True, checkpointing=True, options=dict(beta=0.2)),
    "tied embeddings": dict(model=dict(tie_word_embeddings=True)),
    "a limit to the mismatch": dict(options=dict(mismatch_limit=150.0)),
}


@pytest.fixture(scope="module")
def fsdp2(tmp_path_factory) -> dict[str, tuple[tuple, tuple]]:
    """Results of two processes that share the parameters, and of one."""
    cuts = {}
    for name, case in FSDP2.items():
        sgd = dict(optim="sgd", max_grad_norm=0.0, learning_rate=RATE)
        cuts[name] = case | dict(steps=2, max_steps=2, options=sgd | case.get("options", {}))
        if "model" in case:  # a reference model is loaded by name; what is tied is known from a folder
            cuts[name]["path"] = str(tmp_path_factory.mktemp("model"))
            tiny_model(**case["model"]).save_pretrained(cuts[name]["path"])
    narrow = [cut | dict(batch=4) for cut in cuts.values()]
    shared = train_together(narrow, tmp_path_factory.mktemp("fsdp"), fsdp.main)
    return dict(zip(cuts, zip(shared, map(one_process, cuts.values()), strict=True), strict=True))


@pytest.mark.parametrize("name", FSDP2)
def test_fsdp2_has_the_gradient_of_one_process(name, fsdp2):
    (trained, log), (expected, expected_log) = fsdp2[name]
    assert distance(expected, trained) <= RATE * 1e-5
    assert losses(log) == pytest.approx(losses(expected_log), abs=1e-5)


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict[str, list[dict[str, Any]]]:
    """What both processes wrote, by what was run; a scenario that a process did not finish is missing."""
    folder = tmp_path_factory.mktemp("seen")
    start(two_processes.main, [(folder,)] * 2, folder / "said.txt")
    names = {path.stem[:-2] for path in folder.glob("*-1.json")}
    return {name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)] for name in names}


def test_every_process_runs_as_many_forwards_in_every_micro_step(seen):
    """ZeRO-3 and FSDP gather the weights in every forward, so a process that runs fewer leaves the others waiting."""
    first, second = seen["forward_counts"]
    assert first["forwards"] == second["forwards"] and max(first["forwards"]) > 0
    assert first["tokens"] != second["tokens"]  # they did run different rows


def test_one_process_on_which_rows_see_each_other_makes_all_pad(seen):
    first, _ = seen["leak_on_one_process"]
    assert any("a row changes its neighbor" in sentence for sentence in first["said"])
