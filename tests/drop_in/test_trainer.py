"""REALTrainer takes what GRPOTrainer takes: models, rewards, data sets, callbacks, logs."""

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import transformers.training_args
from transformers import LlamaForSequenceClassification, TrainerCallback
from trl import GRPOTrainer

from tests.support.tiny import prompts_dataset, tiny_model, tiny_tokenizer
from tests.support.trainers import (
    config,
    even_start,
    logged,
    save_tiny_model,
    tiny_llama,
    train_and_check,
    trainer,
    weights,
)
from trl_real import REALConfig, REALTrainer


def test_the_constructor_is_that_of_grpo_trainer() -> None:
    parameters = (inspect.signature(cls.__init__).parameters.values() for cls in (REALTrainer, GRPOTrainer))
    ours, theirs = ([(each.name, each.kind, each.default) for each in those] for those in parameters)
    assert ours == theirs


def test_without_args_a_real_config_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The defaults of GRPOConfig ask for bf16, which Transformers refuses on a CPU; nothing is computed here
    monkeypatch.setattr(transformers.training_args, "is_torch_bf16_gpu_available", lambda: True)
    monkeypatch.chdir(tmp_path)
    run = trainer(tmp_path, model=save_tiny_model(tmp_path / "tiny"), args=None)
    assert type(run.args) is REALConfig
    assert run.args.output_dir == "tiny-REAL"


def test_callbacks_and_an_own_optimizer_are_used(tmp_path: Path) -> None:
    class Counter(TrainerCallback):
        steps = 0

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.steps += 1

    counter, model = Counter(), tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = trainer(tmp_path, model=model, callbacks=[counter], optimizers=(optimizer, None))
    train_and_check(run)
    assert counter.steps == 2 and run.optimizer.optimizer is optimizer


async def async_small_end(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    await asyncio.sleep(0)
    return [float(ids[-1] < 32) for ids in completion_ids]


def scores_only_some(prompts: list[str], **kwargs: Any) -> list[float | None]:
    return [None if index % 2 else 1.0 for index in range(len(prompts))]


def test_several_reward_functions_may_be_synchronous_asynchronous_and_silent(tmp_path: Path) -> None:
    args = config(tmp_path, label_threshold=1.2, reward_weights=[1.0, 0.5, 0.25])
    run = trainer(tmp_path, reward_funcs=[even_start, async_small_end, scores_only_some], args=args)
    train_and_check(run)
    assert logged(run, "rewards/scores_only_some/mean") == [1.0]
    even, small = logged(run, "rewards/even_start/mean")[0], logged(run, "rewards/async_small_end/mean")[0]
    assert 0 < even < 1 and 0 < small < 1
    assert logged(run, "reward")[0] == pytest.approx(even + 0.5 * small + 0.125)


def test_reward_functions_see_columns_and_state_and_can_log(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def reward(prompts, completions, completion_ids, answer, trainer_state, log_extra, log_metric, **kwargs):
        seen.extend(zip(prompts, answer, strict=True))
        log_extra("answer", answer)
        log_metric("step_seen", float(trainer_state.global_step))
        return even_start(completion_ids)

    data = prompts_dataset(8)
    answers = {prompt: index for index, prompt in enumerate(data["prompt"])}
    run = trainer(
        tmp_path,
        reward_funcs=reward,
        train_dataset=data.add_column("answer", list(range(8))),
        args=config(tmp_path, log_completions=True),
    )
    run.train()
    assert seen and all(answers[prompt] == answer for prompt, answer in seen)
    assert logged(run, "step_seen") == [0.0]
    table = pd.read_parquet(next(Path(run.args.output_dir, "completions").glob("*.parquet")))
    assert [answers[prompt] for prompt in table["prompt"]] == list(table["answer"])


@pytest.mark.parametrize("by_name", [True, False])
def test_a_reward_model_may_be_a_name_or_an_object(tmp_path: Path, by_name: bool) -> None:
    judge = tiny_llama(LlamaForSequenceClassification, num_labels=1)
    name = save_tiny_model(tmp_path / "judge", judge)
    run = trainer(
        tmp_path,
        reward_funcs=name if by_name else judge,
        reward_processing_classes=None if by_name else tiny_tokenizer(),
        args=config(tmp_path, label_threshold=0.0),
    )
    train_and_check(run)
    column = "rewards/judge/std" if by_name else f"rewards/{judge.config._name_or_path.split('/')[-1]}/std"
    assert logged(run, column)[0] > 0


@pytest.mark.parametrize("sync", [False, True])
def test_a_full_model_is_held_near_a_reference_that_may_follow_it(tmp_path: Path, sync: bool) -> None:
    name = save_tiny_model(tmp_path / "model")
    synced = dict(sync_ref_model=sync, ref_model_sync_steps=4, ref_model_mixup_alpha=1.0)
    args = config(tmp_path, beta=0.1, max_steps=4, **synced)
    run = trainer(tmp_path, model=name, args=args)
    start = weights(run.model)
    run.train()
    assert logged(run, "kl")[0] == pytest.approx(0.0, abs=1e-6) and logged(run, "kl")[1] > 1e-6
    reference = dict(run.ref_model.named_parameters())
    expected = weights(run.model) if sync else start
    assert all(torch.equal(reference[key], value) for key, value in expected.items())
