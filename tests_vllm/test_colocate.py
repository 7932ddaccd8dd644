"""vLLM in the processes of the trainer: what it samples is what the model of that moment says, and the model learns."""

from pathlib import Path
from typing import Any

import pytest

from tests_vllm.launching import Trained, train


STEPS = dict(max_steps=40, gradient_accumulation_steps=1, steps_per_generation=2)  # 20 generations


def check_learned(run: Trained, processes: int = 1) -> None:
    assert len(run.probes) == processes and all(len(probe) == len(run.rewards) for probe in run.probes)
    assert run.gap < 1e-4
    assert sum(run.rewards[-5:]) / 5 > sum(run.rewards[:3]) / 3 + 0.2
    assert all(each["asked"] == each["answered"] for probe in run.probes for each in probe)


def groups(run: Trained, size: int) -> list[list[list[int]]]:
    """The prompts of all processes of every generation, in order, cut into groups."""
    generations = [sum((each["asked"] for each in together), []) for together in zip(*run.probes, strict=True)]
    return [prompts[start : start + size] for prompts in generations for start in range(0, len(prompts), size)]


def test_the_model_in_training_is_sampled(tmp_path: Path) -> None:
    check_learned(train(tmp_path, per_device_train_batch_size=16, **STEPS))


def test_an_adapter_is_sampled_and_its_base_stays_as_it_was(tmp_path: Path) -> None:
    run = train(tmp_path, lora=True, per_device_train_batch_size=16, **STEPS)
    check_learned(run)
    assert run.seen["frozen"] == run.seen["kept"] > 0


@pytest.mark.parametrize("lora", [False, True])
def test_weights_that_are_lost_in_sleep_come_back(tmp_path: Path, lora: bool) -> None:
    run = train(
        tmp_path,
        lora=lora,
        variables={"ENGINES_SLEEP": "1"},
        per_device_train_batch_size=16,
        vllm_enable_sleep_mode=True,
        **STEPS,
    )
    check_learned(run)


@pytest.mark.parametrize("parallel", [1, 2])
def test_two_processes_share_groups_and_keep_them_in_order(tmp_path: Path, parallel: int) -> None:
    # 2 optimizer steps of 2 x 8 rollouts; 32 rollouts in groups of 32: every group lies on both processes
    options: dict[str, Any] = STEPS | dict(per_device_train_batch_size=8, num_generations=16)
    run = train(tmp_path, processes=2, vllm_tensor_parallel_size=parallel, **options)
    check_learned(run, processes=2)
    together = groups(run, 16)
    assert all(prompts == prompts[:1] * 16 for prompts in together)
