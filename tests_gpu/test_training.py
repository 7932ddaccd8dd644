"""Trainings: on all GPUs as on one, with ZeRO-3, resumed, with vLLM asleep meanwhile, and their peak of memory."""

import importlib
import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.drop_in.test_resume import run as train_and_save
from tests.support.cuts import ROWS, train_cut
from tests.support.scripts import ROOT
from tests.support.tiny import tiny_model
from tests.support.trainers import weights
from tests.trainer.test_distributed import ZERO3, train_launched
from tests.trainer.test_exactness import TOLERANCE, distance
from tests_gpu.machine import GPUS, IN_BFLOAT16, IN_FLOAT32, SIZE, Record
from tests_vllm.launching import check_learned, train


DEEPSPEED = str(ROOT / "recipes/accelerate/zero3.json") if GPUS else ZERO3
ROUNDING = 10 * TOLERANCE if GPUS else TOLERANCE  # kernels of a GPU add in another order for every shape
RESUMED = 0.05  # share of what the weights move: not every kernel of a GPU can be made to repeat itself
ESTIMATE = (0.8, 1.5)  # of the peak that is measured: too low is worse than too high


def together(cut: dict[str, Any], folder: Path, processes: int) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Parameters and log of a cut of as many processes as divide its rows."""
    count = 2 ** min(processes.bit_length() - 1, ROWS.bit_length() - 1)
    launcher = f"-m torch.distributed.run --standalone --nproc_per_node {count}"
    return train_launched([dict(batch=1, steps=2) | cut], folder, launcher)[0]


@pytest.mark.parametrize("options", [{}, dict(deepspeed=DEEPSPEED)], ids=["ddp", "zero3"])
def test_all_gpus_train_what_one_does(processes: int, options: dict, tmp_path: Path, record_property: Record) -> None:
    if options:
        pytest.importorskip("deepspeed", reason="needs DeepSpeed (pip install 'trl-real[deepspeed]')")
    trained, _ = together(dict(options=options | IN_FLOAT32), tmp_path, processes)
    expected, _ = train_cut(dict(batch=ROWS, steps=2, options=IN_FLOAT32))
    record_property("distance", gap := distance(expected, trained))
    assert gap < ROUNDING


def test_zero3_in_bfloat16_has_finite_gradients_and_moves_the_weights(
    processes: int, tmp_path: Path, record_property: Record
) -> None:
    pytest.importorskip("deepspeed", reason="needs DeepSpeed (pip install 'trl-real[deepspeed]')")
    model = tiny_model(**SIZE)
    model.save_pretrained(tmp_path / "model")
    options = IN_BFLOAT16 | dict(deepspeed=DEEPSPEED, model_init_kwargs=dict(dtype="float32"))
    trained, log = together(dict(path=str(tmp_path / "model"), max_steps=2, options=options), tmp_path, processes)
    norms = [entry["grad_norm"] for entry in log if "grad_norm" in entry]
    moved = distance({name: weight.to(trained[name]) for name, weight in weights(model).items()}, trained)
    record_property("gradient norms", norms)
    record_property("moved", moved)
    assert len(norms) == 2 and all(map(math.isfinite, norms)) and max(norms) > 0 < moved < math.inf


@pytest.fixture
def repeatable() -> Iterator[None]:
    """As far as the kernels can be."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def test_a_resumed_training_ends_as_the_uninterrupted_one(
    repeatable: None, tmp_path: Path, record_property: Record
) -> None:
    whole, _ = train_and_save(tmp_path / "whole", generated=True, **IN_BFLOAT16)
    checkpoint = f"{whole.args.output_dir}/checkpoint-4"
    resumed, _ = train_and_save(tmp_path / "resumed", generated=True, resume=checkpoint, **IN_BFLOAT16)
    halfway = type(whole.model).from_pretrained(checkpoint, dtype="float32")
    ended, again, before = (
        torch.cat([weight.cpu().flatten() for weight in weights(model).values()])
        for model in (whole.model, resumed.model, halfway)
    )
    share = ((ended - again).abs().mean() / (ended - before).abs().mean()).item()
    record_property("share of the way", share)
    assert ended.isfinite().all() and share <= (RESUMED if GPUS else 0)


def test_vllm_wakes_up_with_the_weights_of_the_training(tmp_path: Path, record_property: Record) -> None:
    if not (GPUS and find_spec("vllm")):
        pytest.skip("needs a GPU and vLLM (pip install 'trl-real[vllm]'); tests_vllm has it on CPUs")
    steps = dict(max_steps=40, gradient_accumulation_steps=1, steps_per_generation=2, per_device_train_batch_size=16)
    run = train(tmp_path, vllm_enable_sleep_mode=True, **steps, **IN_BFLOAT16)
    record_property("distance", run.gap)
    record_property("rewards", run.rewards)
    check_learned(run, gap=0.5)  # nats: vLLM samples in bfloat16


def test_the_dry_run_estimates_the_peak_of_memory(monkeypatch: pytest.MonkeyPatch, record_property: Record) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    memory = importlib.import_module("memory")
    size, rollouts = memory.SIZES["5e6"], 4
    if GPUS:
        size = memory.Size(1024, 4096, 24, heads=16, kv_heads=4, vocabulary=32768, prompt=64, completion=1984)
        rollouts = 8
    case = memory.MemoryCase(size, rollouts, bf16=GPUS > 0)
    measured, estimated = memory.run_alone(case), memory.estimate(case)
    record_property("measured", measured)
    record_property("estimated", estimated)
    assert ESTIMATE[0] <= estimated["peak"] / measured["peak"] <= ESTIMATE[1]
