"""Evaluation works as with GRPOTrainer: one set or several, streams, choosing the best checkpoint."""

import math
from pathlib import Path

import pytest
import torch
from datasets import DatasetDict

from tests.support.tiny import fixed_reward, fixed_rollouts, prompts_dataset
from tests.support.trainers import config, logged, moved, trainer, weights


def test_evaluating_within_a_generation_changes_nothing_in_training(tmp_path: Path) -> None:
    def train(folder: Path, **options: str | int) -> dict[str, torch.Tensor]:
        arguments = dict(reward_funcs=fixed_reward, rollout_func=fixed_rollouts(), eval_dataset=prompts_dataset(3))
        # Three prompts in batches of two: the last batch is smaller
        args = config(folder, max_steps=4, per_device_eval_batch_size=8, **options)
        run = trainer(folder, **arguments, args=args)
        run.train()
        assert len(logged(run, "eval_loss")) == (4 if options else 0)
        return weights(run.model)

    assert not moved(train(tmp_path), train(tmp_path, eval_strategy="steps", eval_steps=1))


@pytest.mark.parametrize("container", [dict, DatasetDict])
def test_each_of_several_evaluation_sets_is_logged_under_its_own_name(tmp_path: Path, container: type) -> None:
    easy, hard = prompts_dataset(6).select([0, 1]), prompts_dataset(6).select([2, 3, 4, 5])

    def reward(prompts, **kwargs):
        return [float(prompt in set(easy["prompt"])) for prompt in prompts]

    args = config(tmp_path, eval_strategy="steps", eval_steps=1)
    run = trainer(tmp_path, reward_funcs=reward, eval_dataset=container(easy=easy, hard=hard), args=args)
    run.train()
    assert logged(run, "eval_easy_reward") == [1.0, 1.0]
    assert logged(run, "eval_hard_reward") == [0.0, 0.0]
    assert logged(run, "eval_reward") == []
    assert all(math.isfinite(loss) for loss in logged(run, "eval_easy_loss") + logged(run, "eval_hard_loss"))


def test_a_stream_is_evaluated_without_workers_and_the_training_keeps_its_own(tmp_path: Path) -> None:
    """As TRL's test of the same for GRPOTrainer."""
    args = config(tmp_path, dataloader_num_workers=2, dataloader_prefetch_factor=2, num_generations=4)
    stream = prompts_dataset(3).to_iterable_dataset()
    made = trainer(tmp_path, args=args, eval_dataset=stream, train_dataset=prompts_dataset(8))
    assert made.get_eval_dataloader().num_workers == 0
    assert made.args.dataloader_num_workers == 2 and made.get_train_dataloader().num_workers == 2
    assert made.get_eval_dataloader(prompts_dataset(3)).num_workers == 2
    assert made.evaluate()["eval_avg@4"] >= 0
