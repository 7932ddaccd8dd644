"""vLLM in the processes of the trainer: it samples what the model of that moment says, and the model learns."""

from pathlib import Path

import pytest

from tests.support.scripts import ROOT
from tests_vllm.launching import check_learned, train


STEPS = dict(max_steps=40, gradient_accumulation_steps=1, steps_per_generation=2)  # 20 generations


def test_the_model_in_training_is_sampled(tmp_path: Path) -> None:
    run = train(tmp_path, per_device_train_batch_size=16, mismatch_limit=1.1, **STEPS)
    check_learned(run)
    compared = [entry for entry in run.seen["log"] if "mismatch/token_max" in entry]
    assert len(compared) > 5  # as many steps as had a mixed group
    for entry in compared:
        assert abs(entry["mismatch/token_mean"]) <= entry["mismatch/token_max"] < 1e-3
        assert 1 <= entry["mismatch/sequence_max"] < 1.001 and abs(entry["mismatch/sequence_mean"] - 1) < 1e-3
    assert not any(entry.get("mismatch/dropped") for entry in run.seen["log"])


ZERO3 = dict(processes=2, deepspeed=str(ROOT / "recipes" / "accelerate" / "zero3.json"), per_device_train_batch_size=8)


@pytest.mark.parametrize("how", [dict(per_device_train_batch_size=16), ZERO3], ids=["whole base", "ZeRO-3"])
def test_an_adapter_is_sampled_and_its_base_stays_as_it_was(tmp_path: Path, how: dict) -> None:
    run = train(tmp_path, lora=True, **how, **STEPS)
    check_learned(run, how.get("processes", 1))
    assert run.seen["frozen"] == run.seen["kept"] > 0


@pytest.mark.parametrize("lora", [False, True])
def test_weights_that_are_lost_in_sleep_come_back(tmp_path: Path, lora: bool) -> None:
    sleep = dict(variables={"ENGINES_SLEEP": "1"}, vllm_enable_sleep_mode=True)
    run = train(tmp_path, lora=lora, per_device_train_batch_size=16, **sleep, **STEPS)
    check_learned(run)


def test_an_evaluation_samples_the_best_checkpoint_that_was_loaded_and_greedily_if_asked(tmp_path: Path) -> None:
    best = dict(metric_for_best_model="avg@4", greater_is_better=False)  # so that the last one is not the best
    best |= dict(load_best_model_at_end=True, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2)
    options = STEPS | dict(max_steps=24, eval_temperature=0.0, per_device_train_batch_size=16)
    run = train(tmp_path, per_device_eval_batch_size=48, **options, **best)
    [probe] = run.probes
    assert len(probe) == 12 + 12 + 1 and run.gap < 1e-4
    last = probe[-1]["completions"]
    assert last == [completion for completion in last[::4] for _ in range(4)]
    log = run.seen["log"]
    evaluated = {entry["step"]: entry["eval_avg@4"] for entry in log if "eval_avg@4" in entry}
    assert log[-1]["after_avg@4"] == min(evaluated.values()) < evaluated[24]


@pytest.mark.parametrize("parallel", [1, 2])
def test_two_processes_share_groups_and_keep_them_in_order(tmp_path: Path, parallel: int) -> None:
    # 3 optimizer steps of 16 rollouts in a generation, 24 on each process: the second of 3 groups lies on both
    options = dict(per_device_train_batch_size=4, gradient_accumulation_steps=2, steps_per_generation=6)
    options |= dict(num_generations=16, max_steps=48, vllm_tensor_parallel_size=parallel)
    run = train(tmp_path, processes=2, **options)
    check_learned(run, processes=2)
    for together in zip(*run.probes, strict=True):
        prompts = [prompt for each in together for prompt in each["asked"]]
        assert len(prompts) == 48 and len(together[0]["asked"]) == 24
        assert all(prompts[start : start + 16] == prompts[start : start + 1] * 16 for start in (0, 16, 32))
