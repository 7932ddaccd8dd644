"""The best checkpoint by a metric of validation is kept and loaded; a metric that is not logged is an error."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from tests.support.tiny import prompts_dataset
from tests.support.trainers import config, even_start, logged, moved, trainer, weights
from trl_real import REALTrainer


class Remember(TrainerCallback):
    """Keeps the weights after every step."""

    def __init__(self, after: dict[int, dict[str, torch.Tensor]]):
        self.after = after

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.after[state.global_step] = weights(model)


def best_after_two(completion_ids: list[list[int]], trainer_state: Any, **kwargs: Any) -> list[float]:
    """All right at step 2, none at steps 1 and 3; mixed otherwise, so that there is something to train on."""
    fixed = {1: 0.0, 2: 1.0, 3: 0.0}.get(trainer_state.global_step)
    return even_start(completion_ids) if fixed is None else [fixed] * len(completion_ids)


def best_run(folder: Path, **options: Any) -> REALTrainer:
    defaults = dict(max_steps=4, steps_per_generation=8, eval_strategy="steps", eval_steps=1)
    defaults |= dict(metric_for_best_model="hard_avg@4", save_strategy="steps", save_steps=1)
    sets = {"easy": prompts_dataset(1), "hard": prompts_dataset(2)}
    return trainer(folder, reward_funcs=best_after_two, args=config(folder, **defaults | options), eval_dataset=sets)


@pytest.mark.parametrize("strategy", ["steps", "best"])
def test_the_checkpoint_that_is_kept_and_loaded_is_the_best(tmp_path: Path, strategy: str) -> None:
    run = best_run(tmp_path, save_strategy=strategy, save_total_limit=1, load_best_model_at_end=True)
    passed = {}
    run.add_callback(Remember(passed))
    run.train()
    assert run.args.greater_is_better and run.state.best_metric == 1.0 and run.state.best_global_step == 2
    best = tmp_path / "run" / "checkpoint-2"
    assert Path(run.state.best_model_checkpoint) == best and best.is_dir()
    kept = AutoModelForCausalLM.from_pretrained(best).state_dict()
    assert all(torch.equal(kept[name], value) for name, value in passed[2].items())
    assert not moved(weights(run.model), passed[2]) and moved(passed[4], passed[2])


@pytest.mark.parametrize("strategy", ["steps", "best"])
def test_a_resumed_run_still_knows_the_best(tmp_path: Path, strategy: str) -> None:
    best_run(tmp_path, max_steps=2, save_strategy=strategy).train()
    resumed = best_run(tmp_path, save_strategy=strategy, save_total_limit=1)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert logged(resumed, "eval_hard_avg@4")[:3] == [0.0, 1.0, 0.0]
    assert resumed.state.best_global_step == 2 and (tmp_path / "run" / "checkpoint-2").is_dir()


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("hard_avg@8", "is 'hard_avg@8', which evaluation does not log. Write one of eval_easy_avg@4, "),
        ("eval_hrad_avg@4", "is 'eval_hrad_avg@4'.* Write one of .*eval_hard_avg@4"),
        ("reward", "is 'reward'.* Write one of .*eval_hard_reward"),
        (None, "is 'loss'.* Write one of .*eval_hard_\\.\\.\\."),  # what Transformers takes for the best by default
    ],
)
def test_a_metric_that_no_set_logs_is_an_error_at_the_start(tmp_path: Path, metric: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=f"`metric_for_best_model` {words}"):
        best_run(tmp_path, metric_for_best_model=metric, load_best_model_at_end=True)


def test_another_misspelt_metric_is_an_error_before_the_first_step_and_lists_what_is_logged(tmp_path: Path) -> None:
    run = best_run(tmp_path, metric_for_best_model="eval_hard_rewrd", eval_on_start=True)
    words = "is 'eval_hard_rewrd', which evaluation does not log. Write one of .*eval_easy_avg@4, .*eval_hard_reward,"
    with pytest.raises(ValueError, match=words):
        run.train()
    assert run.state.global_step == 0
