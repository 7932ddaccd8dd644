"""REALTrainer end to end on a tiny model: what it logs, how it resumes, and what it does with bad input."""

import logging
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOConfig

from tests.support.cuts import parameters, train_cut, trainer_for
from tests.support.tiny import fixed_reward, fixed_rollouts, prompts_dataset, tiny_model
from trl_real import REALTrainer


def build(reward_func: Any = fixed_reward, batch: int = 8, rollout_func: Any = None, **options: Any) -> REALTrainer:
    """A trainer on 16 rollouts per optimizer step, 2 optimizer steps per generation."""
    cut = dict(batch=batch, steps=2, max_steps=options.pop("max_steps", 4), options=options)
    return trainer_for(cut | ({"rollout_func": rollout_func} if rollout_func else {}), reward_func=reward_func)


def train(trainer: REALTrainer) -> list[dict[str, Any]]:
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def moved(trainer: REALTrainer) -> float:
    start = dict(tiny_model().named_parameters())
    return max((p - start[name]).abs().max().item() for name, p in trainer.model.named_parameters())


def test_every_metric_of_the_glossary_is_logged():
    page = (Path(__file__).parents[2] / "docs/guides/metrics.md").read_text()
    glossary = re.findall(r"^\| `([^`]+)` \|", page.split("\n## Metrics\n")[1].split("\n## ")[0], re.MULTILINE)
    log = train(build())
    assert len(glossary) > 8
    for name in glossary:
        assert any(name in entry for entry in log), name


def test_resuming_inside_a_generation_goes_on_with_its_remaining_prompts(tmp_path):
    cut = dict(batch=8, steps=4, max_steps=8, options=dict(save_strategy="steps", save_steps=2))

    class Recording(REALTrainer):
        def _compute_loss(self, model, inputs):
            rollouts = [rollout for batch in inputs.batches for rollout in batch.rollouts]
            self.trained = [*getattr(self, "trained", []), *(r.prompt_ids.tolist() for r in rollouts)]
            return super()._compute_loss(model, inputs)

    whole, resumed = (trainer_for(cut, Recording, str(tmp_path)) for _ in range(2))
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert 0 < len(resumed.trained) < len(whole.trained)
    assert sorted(whole.trained[-len(resumed.trained) :]) == sorted(resumed.trained)


def all_correct(prompts: list, **kwargs: Any) -> list[float]:
    return [1.0] * len(prompts)


@pytest.mark.parametrize(
    ("value", "kind"), [(None, "unlabelled"), (math.nan, "unlabelled"), (1.0, "all_correct"), (0.0, "all_incorrect")]
)
@pytest.mark.parametrize("batch", [16, 2])
def test_steps_without_a_mixed_group_do_not_move_the_weights(value, kind, batch):
    trainer = build(lambda prompts, **kwargs: [value] * len(prompts), batch)
    log = train(trainer)
    assert len(log) == 4 and all(entry["loss"] == 0 and entry["grad_norm"] == 0 for entry in log)
    assert moved(trainer) == 0
    assert log[0][f"groups/{kind}"] == 1 and log[0]["trained/rollouts"] == 0


def test_a_step_without_a_mixed_group_still_takes_the_optimizers_step():
    """Its gradient is zero, not missing: Adam goes on with its momentum, as in a loop that runs every rollout."""

    def first_generation(prompts, completion_ids, **kwargs):
        return fixed_reward(prompts, completion_ids) if trainer.state.global_step == 0 else all_correct(prompts)

    class Snapshots(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            snapshots.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]).clone())

    snapshots = []
    trainer = build(first_generation)
    trainer.add_callback(Snapshots())
    log = train(trainer)
    assert [entry["loss"] for entry in log[2:]] == [0, 0] and log[2]["groups/all_correct"] == 1
    assert (snapshots[3] - snapshots[2]).abs().max() > 1e-4


def test_an_empty_completion_is_an_error_that_names_the_prompt():
    def empty(prompts, trainer):
        output = fixed_rollouts()(prompts, trainer)
        output["completion_ids"][3] = []
        return output

    with pytest.raises(ValueError, match="`rollout_func` returned an empty completion for prompt 3"):
        build(rollout_func=empty).train()


def test_a_mask_over_everything_is_a_step_without_gradient():
    def masked(prompts, trainer):
        output = fixed_rollouts()(prompts, trainer)
        output["env_mask"] = [[0] * len(ids) for ids in output["completion_ids"]]
        return output

    trainer = build(rollout_func=masked, beta=0.1, kl_target="old", entropy_coef=0.1)
    assert all(entry["loss"] == 0 for entry in train(trainer)) and moved(trainer) == 0


def test_a_named_reward_function_decides():
    alone = train_cut(dict(batch=8, steps=2, max_steps=4))[0]
    trainer = build([all_correct, fixed_reward], label_reward_func="fixed_reward")
    train(trainer)
    assert max((alone[name] - p).abs().max().item() for name, p in parameters(trainer).items()) < 1e-4


def test_a_grpo_config_is_answered_with_the_name_to_write():
    args = GRPOConfig("unused", use_cpu=True, bf16=False)
    with pytest.raises(TypeError, match="must be a REALConfig, got GRPOConfig: write REALConfig"):
        REALTrainer(tiny_model(), fixed_reward, args, prompts_dataset(8))


def test_graded_rewards_give_one_warning(caplog):
    def graded(prompts, completion_ids, **kwargs):
        return [len(ids) / 13 for ids in completion_ids]

    with caplog.at_level(logging.WARNING, logger="trl_real"):
        log = train(build(graded))
    assert sum("more than two values" in record.message for record in caplog.records) == 1
    assert log[0]["groups/mixed"] > 0.5


def test_a_reference_model_is_not_loaded_for_the_old_policy():
    trainer = build(beta=0.1, kl_target="old")
    assert trainer.ref_model is None and trainer.args.beta == 0.1
