"""Custom losses and labels in a trainer; their gradient is in `test_oracle.py`."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from docs.examples.own_objective import all_pairs, quarters
from tests.objective.test_own import every_class
from tests.support.tiny import fixed_completion, fixed_reward, fixed_rollouts, graded_reward, prompts_dataset
from tests.support.trainers import config, logged, trainer, weights
from trl_real import REALTrainer


EXAMPLES = "docs.examples.own_objective"


def run(folder: Path, resume: str | None = None, **options: Any) -> REALTrainer:
    defaults = dict(max_steps=4, save_strategy="steps", save_steps=2, lr_scheduler_type="constant")
    args = config(folder, **defaults | dict(loss_type=all_pairs, label_func=quarters) | options)
    trained = trainer(folder, reward_funcs=fixed_reward, rollout_func=fixed_rollouts(), args=args)
    trained.train(resume_from_checkpoint=resume)
    return trained


def test_functions_are_saved_with_checkpoints_which_resume(tmp_path: Path) -> None:
    whole = run(tmp_path)
    checkpoint = Path(whole.args.output_dir) / "checkpoint-2"
    saved = torch.load(checkpoint / "training_args.bin", weights_only=False)
    assert saved.loss_type is all_pairs and saved.label_func is quarters
    resumed = run(tmp_path / "resumed", str(checkpoint))
    assert resumed.state.global_step == 4
    for name, value in weights(resumed.model).items():
        torch.testing.assert_close(dict(whole.model.named_parameters())[name], value, rtol=0, atol=1e-6, msg=name)


def test_a_configuration_says_functions_by_their_paths() -> None:
    args = config(Path("unused"), loss_type=all_pairs, label_func=quarters)
    assert json.loads(args.to_json_string())["loss_type"] == f"{EXAMPLES}:all_pairs"
    assert args.to_dict()["label_func"] == f"{EXAMPLES}:quarters" and args.to_sanitized_dict()


def of_eight(scores, labels):
    return all_pairs(scores.view(-1, 8), labels.view(-1, 8))


def test_the_functions_are_tried_on_groups_of_the_sizes_of_the_run() -> None:
    config(Path("unused"), loss_type=of_eight, num_generations=8, per_device_train_batch_size=8)
    with pytest.raises(ValueError, match="`loss_type`: the function failed"):
        config(Path("unused"), loss_type=of_eight, num_generations=4)
    with pytest.raises(ValueError, match="`label_func`: .* labels of the shape of the rewards"):
        config(Path("unused"), label_func=torch.sum)


def test_an_evaluation_has_the_objective_and_the_threshold(tmp_path: Path) -> None:
    options = dict(eval_strategy="steps", eval_steps=2, max_steps=2, num_generations_eval=2, label_threshold=0.25)
    evaluated = trainer(
        tmp_path,
        reward_funcs=graded_reward,
        rollout_func=fixed_rollouts(),
        args=config(tmp_path, loss_type=every_class, label_func=quarters, **options),
        eval_dataset=prompts_dataset(4),
    )
    evaluated.train()
    rewards = [
        reward
        for prompt in prompts_dataset(4)["prompt"]
        for reward in graded_reward([prompt] * 2, [fixed_completion(prompt, k) for k in range(2)])
    ]
    solved = [reward is not None and reward > 0.25 for reward in rewards]
    assert logged(evaluated, "eval_avg@2") == [pytest.approx(sum(solved) / len(solved))]
    assert math.isfinite(logged(evaluated, "eval_loss")[0])
