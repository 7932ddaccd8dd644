"""REALTrainer end to end on a tiny model: what it logs, how it resumes, and what it does with bad input."""

import logging
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOConfig

from tests.support.cuts import GROUP, parameters, train_cut, trainer_for
from tests.support.tiny import (
    fixed_completion,
    fixed_reward,
    fixed_rollouts,
    prompts_dataset,
    tiny_model,
    tiny_tokenizer,
)
from trl_real import REALConfig, REALTrainer


def build(
    reward_funcs: Any, output_dir: Path | str | None = None, rollout_func: Any = None, **options: Any
) -> REALTrainer:
    """A trainer on 16 rollouts per optimizer step, 2 optimizer steps per generation."""
    defaults = dict(per_device_train_batch_size=8, gradient_accumulation_steps=2, steps_per_generation=4)
    defaults |= dict(num_generations=GROUP, max_steps=4, learning_rate=1e-2, logging_steps=1, save_strategy="no")
    defaults |= dict(
        lr_scheduler_type="constant",
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        gradient_checkpointing=False,
    )
    return REALTrainer(
        model=tiny_model(),
        reward_funcs=reward_funcs,
        args=REALConfig(output_dir=str(output_dir or tempfile.gettempdir()), **defaults | options),
        train_dataset=prompts_dataset(32),
        eval_dataset=options.pop("eval_dataset", None),
        processing_class=tiny_tokenizer(),
        rollout_func=rollout_func or fixed_rollouts(),
    )


def train(trainer: REALTrainer) -> list[dict[str, Any]]:
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def moved(trainer: REALTrainer) -> float:
    start = dict(tiny_model().named_parameters())
    return max((p - start[name]).abs().max().item() for name, p in trainer.model.named_parameters())


# ---- what is logged -------------------------------------------------------------------------------------------------


def test_the_loss_of_an_on_policy_step_is_counted_by_hand():
    """At score 0 a mixed group with p right and n wrong costs log(1 + p) + log(1 + n); the mean is over all groups."""
    trainer = trainer_for(dict(batch=16, steps=4))
    prompts = [trainer.train_dataset[index]["prompt"] for index in list(trainer._get_train_sampler())[:64:GROUP]]
    trainer = trainer_for(dict(batch=16, steps=4, max_steps=1))
    expected = 0.0
    for prompt in prompts[:4]:  # the first optimizer step has the first four
        rewards = fixed_reward([prompt] * GROUP, [fixed_completion(prompt, index) for index in range(GROUP)])
        right, wrong = rewards.count(1.0), rewards.count(0.0)
        expected += (math.log(1 + right) + math.log(1 + wrong)) * (right > 0 and wrong > 0)
    assert expected > 0
    assert train(trainer)[0]["loss"] == pytest.approx(expected / 4, abs=1e-4)


def test_every_metric_of_the_glossary_is_logged_and_bounded():
    page = (Path(__file__).parents[2] / "docs/guides/metrics.md").read_text()
    glossary = re.findall(r"^\| `([^`]+)` \|", page.split("\n## Metrics\n")[1].split("\n## ")[0], re.MULTILINE)
    log = train(build(fixed_reward))
    assert len(glossary) > 8
    for name in glossary:
        assert any(name in entry for entry in log), name
    for entry in log:
        shares = [
            entry[f"groups/{kind}"]
            for kind in ("all_correct", "all_incorrect", "mixed", "unlabelled")
            if "reward" in entry
        ]
        assert not shares or sum(shares) == pytest.approx(1)
        assert 0 <= entry.get("weights/mean", 0) <= entry.get("weights/max", 0) <= 1 / 0.5
        assert entry.get("kl_old", 0) >= 0
    later = [entry for entry in log if "reward" not in entry and "scores/positive_mean" in entry]
    assert later and all(entry["scores/positive_mean"] != 0 for entry in later)


def test_scores_separate_right_from_wrong_as_training_goes_on_with_one_generation():
    trainer = build(fixed_reward, num_iterations=6, max_steps=12, learning_rate=3e-3)
    log = [entry for entry in train(trainer) if "scores/positive_mean" in entry]
    assert log[0]["scores/positive_mean"] == 0
    assert log[-1]["scores/positive_mean"] > 0.1 and log[-1]["scores/negative_mean"] < -0.1
    assert log[-1]["loss"] < log[-3]["loss"]


def test_only_rollouts_with_a_gradient_are_run(monkeypatch):
    batches = []
    compute_loss = REALTrainer._compute_loss
    monkeypatch.setattr(
        REALTrainer,
        "_compute_loss",
        lambda self, model, inputs: batches.extend(inputs.batches) or compute_loss(self, model, inputs),
    )
    log = train(build(fixed_reward, max_steps=2, share_prompts=False))
    ran = [row for batch in batches for row in batch.rows if row is not None]
    assert len(ran) == len(set(ran)) == round(log[0]["trained/rollouts"] * 32) < 32
    for batch in batches:
        assert batch.input_ids.numel() == sum(rollout.length for rollout in batch.rollouts)


def test_the_completions_log_has_the_labels(tmp_path):
    trainer = build(fixed_reward, tmp_path, log_completions=True, max_steps=1)
    trainer.train()
    table = pd.read_parquet(next((tmp_path / "completions").glob("*.parquet")))
    rewards = table["fixed_reward"]
    assert len(table) == 32 and table["label"].dropna().isin([0.0, 1.0]).all()
    assert (table["label"].isna() == rewards.isna()).all() and (table["label"] == rewards)[rewards.notna()].all()


def test_evaluation_sets_are_logged_under_their_names():
    trainer = build(fixed_reward, per_device_eval_batch_size=8)
    for size in (4, 6):
        metrics = trainer.evaluate({"easy": prompts_dataset(size), "hard": prompts_dataset(size + 1)})
        assert {"eval_easy_reward", "eval_hard_reward", "eval_easy_loss", "eval_hard_groups/mixed"} <= metrics.keys()
        assert "eval_reward" not in metrics
    assert "eval_reward" in trainer.evaluate(prompts_dataset(4))


def test_the_evaluation_loss_is_the_objective_of_whole_groups():
    trainer = build(fixed_reward, per_device_eval_batch_size=8, num_generations_eval=8)
    prompts = prompts_dataset(5)["prompt"]
    metrics = trainer.evaluate(prompts_dataset(5))
    expected = 0.0
    for prompt in prompts:
        rewards = fixed_reward([prompt] * 8, [fixed_completion(prompt, index) for index in range(8)])
        right, wrong = rewards.count(1.0), rewards.count(0.0)
        expected += (math.log(1 + right) + math.log(1 + wrong)) * (right > 0 and wrong > 0) / 5
    assert metrics["eval_loss"] == pytest.approx(expected, abs=1e-4)


# ---- resuming -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save_steps", [4, 8, 12])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, save_steps):
    """32 prompts, 16 per generation of 4 optimizer steps: checkpoints in the first epoch, at its end, in the next."""
    cut = dict(batch=8, steps=4, max_steps=16, options=dict(save_strategy="steps", save_steps=save_steps))
    whole = trainer_for(cut, output_dir=str(tmp_path))
    whole.train()
    resumed = trainer_for(cut, output_dir=str(tmp_path))
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{save_steps}"))
    first, second = parameters(whole), parameters(resumed)
    assert max((first[name] - second[name]).abs().max().item() for name in first) < 1e-5


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


# ---- bad input ------------------------------------------------------------------------------------------------------


def none_reward(prompts: list, **kwargs: Any) -> list[None]:
    return [None] * len(prompts)


def nan_reward(prompts: list, **kwargs: Any) -> list[float]:
    return [math.nan] * len(prompts)


def right_reward(prompts: list, **kwargs: Any) -> list[float]:
    return [1.0] * len(prompts)


def wrong_reward(prompts: list, **kwargs: Any) -> list[float]:
    return [0.0] * len(prompts)


@pytest.mark.parametrize("reward", [none_reward, nan_reward, right_reward, wrong_reward])
@pytest.mark.parametrize("batch", [16, 2])
def test_steps_without_a_mixed_group_do_not_move_the_weights(reward, batch):
    trainer = build(
        reward,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=16 // batch,
        steps_per_generation=32 // batch,
    )
    log = train(trainer)
    assert len(log) == 4 and all(entry["loss"] == 0 and entry["grad_norm"] == 0 for entry in log)
    assert moved(trainer) == 0
    kind = {
        none_reward: "unlabelled",
        nan_reward: "unlabelled",
        right_reward: "all_correct",
        wrong_reward: "all_incorrect",
    }
    assert log[0][f"groups/{kind[reward]}"] == 1 and log[0]["trained/rollouts"] == 0


def test_a_step_without_a_mixed_group_still_takes_the_optimizers_step():
    """Its gradient is zero, not missing: Adam goes on with its momentum, as in a loop that runs every rollout."""

    def first_generation(prompts, completion_ids, **kwargs):
        return fixed_reward(prompts, completion_ids) if trainer.state.global_step == 0 else right_reward(prompts)

    class Snapshots(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            snapshots.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]).clone())

    snapshots = []
    trainer = build(first_generation)
    trainer.add_callback(Snapshots())
    log = train(trainer)
    assert [entry["loss"] for entry in log[2:]] == [0, 0] and log[2]["groups/all_correct"] == 1
    assert (snapshots[3] - snapshots[2]).abs().max() > 1e-4


def test_one_class_groups_train_when_they_are_kept():
    trainer = build(right_reward, degenerate_groups="keep")
    assert train(trainer)[0]["loss"] == pytest.approx(math.log(5), abs=1e-4)
    assert moved(trainer) > 1e-3


def test_groups_without_labels_beside_mixed_ones_train_the_mixed_ones():
    def some(prompts, completion_ids, **kwargs):
        rewards = fixed_reward(prompts, completion_ids)
        return [
            None if prompt.endswith(("3", "7")) else reward for prompt, reward in zip(prompts, rewards, strict=True)
        ]

    trainer = build(some)
    log = train(trainer)
    assert 0 < log[0]["groups/unlabelled"] < 1 and moved(trainer) > 1e-3


def test_a_wrong_number_of_rewards_is_an_error_that_names_the_function():
    def short_reward(prompts, **kwargs):
        return [1.0] * (len(prompts) - 1)

    with pytest.raises(ValueError, match="short_reward returned 31 rewards.* for each of the 32 completions"):
        build(short_reward).train()


def test_an_empty_completion_is_an_error_that_names_the_prompt():
    def empty(prompts, trainer):
        output = fixed_rollouts()(prompts, trainer)
        output["completion_ids"][3] = []
        return output

    with pytest.raises(ValueError, match="`rollout_func` returned an empty completion for prompt 3"):
        build(fixed_reward, rollout_func=empty).train()


def test_completions_without_a_counted_token_are_not_trained_on():
    def masked(prompts, trainer):
        output = fixed_rollouts()(prompts, trainer)
        output["env_mask"] = [[int(index % 4 != 0)] * len(ids) for index, ids in enumerate(output["completion_ids"])]
        return output

    log = train(build(fixed_reward, rollout_func=masked, degenerate_groups="keep"))
    assert log[0]["trained/rollouts"] <= 0.75 and all(math.isfinite(entry["loss"]) for entry in log)


def test_a_mask_over_everything_is_a_step_without_gradient():
    def masked(prompts, trainer):
        output = fixed_rollouts()(prompts, trainer)
        output["env_mask"] = [[0] * len(ids) for ids in output["completion_ids"]]
        return output

    trainer = build(fixed_reward, rollout_func=masked, beta=0.1, kl_target="old", entropy_coef=0.1)
    assert all(entry["loss"] == 0 for entry in train(trainer)) and moved(trainer) == 0


def test_several_reward_functions_without_a_rule_are_an_error_at_construction():
    with pytest.raises(
        ValueError, match=r"label_reward_func='<the function that checks the answer>'.*label_threshold"
    ):
        build([fixed_reward, right_reward])


def test_a_named_reward_function_decides():
    alone = train_cut(dict(batch=8, steps=2, max_steps=4))[0]
    trainer = build([right_reward, fixed_reward], label_reward_func="fixed_reward", adam_epsilon=1e-5, seed=1)
    train(trainer)
    assert max((alone[name] - p).abs().max().item() for name, p in parameters(trainer).items()) < 1e-4


def test_a_grpo_config_is_answered_with_the_name_to_write():
    with pytest.raises(TypeError, match="must be a REALConfig, got GRPOConfig: write REALConfig"):
        REALTrainer(
            tiny_model(), fixed_reward, GRPOConfig(output_dir="x", use_cpu=True, bf16=False), prompts_dataset(8)
        )


def test_graded_rewards_give_one_warning(caplog):
    def graded(prompts, completion_ids, **kwargs):
        return [len(ids) / 13 for ids in completion_ids]

    with caplog.at_level(logging.WARNING, logger="trl_real"):
        log = train(build(graded))
    assert sum("more than two values" in record.message for record in caplog.records) == 1
    assert log[0]["groups/mixed"] > 0.5


def test_on_policy_settings_are_pointed_out_once(caplog):
    with caplog.at_level(logging.WARNING, logger="trl_real"):
        build(fixed_reward)
        assert not caplog.records
        build(fixed_reward, steps_per_generation=2)
    assert [record.message for record in caplog.records if "steps_per_generation=8" in record.message]


def test_a_reference_model_is_not_loaded_for_the_old_policy():
    trainer = build(fixed_reward, beta=0.1, kl_target="old")
    assert trainer.ref_model is None and trainer.args.beta == 0.1
    log = train(trainer)
    assert log[0]["kl"] == 0 and max(entry["kl"] for entry in log) > 0


def test_a_reference_model_of_its_own_gives_the_kl(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    base, _ = train_cut(dict(batch=16, path=str(tmp_path), options=dict(beta=0.2)))
    small, log = train_cut(dict(batch=2, path=str(tmp_path), options=dict(beta=0.2)))
    assert max((base[name] - small[name]).abs().max().item() for name in base) < 1e-4
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6) and log[-2]["kl"] > 0.01
    without, _ = train_cut(dict(batch=16, path=str(tmp_path)))
    assert max((base[name] - without[name]).abs().max().item() for name in base) > 1e-3
    assert torch.isfinite(torch.cat([p.flatten() for p in base.values()])).all()
