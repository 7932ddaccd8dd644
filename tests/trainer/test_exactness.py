"""The law of the package: an optimizer step has the gradient of whole groups, whatever the batch cut (one process).

Fixed rollouts, a float32 model, several optimizer steps of AdamW; the parameters of every cut must agree with those of
the widest cut, and the widest cut with a plain loop that knows no cut at all.
"""

import inspect
from typing import Any

import pytest
import torch

from tests.objective import reference
from tests.support.cuts import GROUP, ROWS, parameters, train_cut, trainer_for
from tests.support.tiny import fixed_completion, fixed_reward, prompts_dataset, tiny_model, tiny_tokenizer
from trl_real import REALTrainer
from trl_real.metrics.histograms import HISTOGRAMS
from trl_real.step.forwards import Forwards
from trl_real.step.generation import StepWeights
from trl_real.step.plan import StepPlan


TOLERANCE = 1e-4

FEATURES: dict[str, dict[str, Any]] = {
    "4 steps per generation": dict(steps=4),
    "1 step per generation": dict(steps=1),
    "no anchor": dict(options=dict(loss_type="real_no_anchor")),
    "bce": dict(options=dict(loss_type="bce")),
    "clipped scores": dict(options=dict(score_clip=0.05)),
    "tau 0.1": dict(options=dict(tau=0.1)),
    "one-class groups kept": dict(options=dict(degenerate_groups="keep")),
    "lora": dict(lora=True),
    "gradient checkpointing": dict(checkpointing=True),
    "lora with gradient checkpointing": dict(lora=True, checkpointing=True),
    "generation used twice": dict(steps=2, options=dict(num_iterations=2)),
    "generation used twice in a step": dict(steps=1, options=dict(num_iterations=2)),
    "kl to reference": dict(lora=True, options=dict(beta=0.2)),
    "kl to old policy": dict(options=dict(beta=0.2, kl_target="old")),
    "bias-corrected kl": dict(options=dict(beta=0.2, kl_target="old", use_bias_correction_kl=True)),
    "entropy bonus": dict(options=dict(entropy_coef=0.05)),
    "terms on trained rollouts only": dict(lora=True, options=dict(beta=0.2, entropy_coef=0.05, regularize="trained")),
    "labels by rank": dict(options=dict(label_func="docs.examples.own_objective:quarters", num_generations=8)),
    "a limit to the mismatch": dict(options=dict(mismatch_limit=150.0)),
    "adaptive entropy": dict(options=dict(use_adaptive_entropy=True, entropy_coef_delta=0.02, entropy_target=3.4)),
    "truncated masked": dict(options=dict(mask_truncated_completions=True)),
    "tool mask": dict(env_mask=True),
    "mixture of experts": dict(moe=True, steps=2),
    "packing to a multiple": dict(options=dict(pad_to_multiple_of=8)),
    "padded": dict(options=dict(pack_rollouts=False)),
    "padded to a multiple": dict(options=dict(pack_rollouts=False, pad_to_multiple_of=8)),
    "padded mixture of experts": dict(moe=True, steps=2, options=dict(pack_rollouts=False)),
    "8 generations per prompt": dict(options=dict(num_generations=8)),
    "every prompt shared": dict(options=dict(num_generations=8, share_prompts=True)),
    "no prompt shared": dict(options=dict(share_prompts=False)),
}


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Largest difference of any parameter."""
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


def losses(log: list[dict[str, Any]]) -> list[float]:
    return [entry["loss"] for entry in log if "loss" in entry]


def check_histograms(log: list[dict[str, Any]], base_log: list[dict[str, Any]]) -> None:
    """As many rollouts in every step and class; rounding may carry one of them over an edge."""
    records, base_records = ([entry for entry in entries if HISTOGRAMS[0] in entry] for entries in (log, base_log))
    assert len(records) == len(base_records) > 0
    for record, base in zip(records, base_records, strict=True):
        for name in HISTOGRAMS:
            below, base_below = torch.tensor(record[name]).cumsum(0), torch.tensor(base[name]).cumsum(0)
            assert below[-1] == base_below[-1] and (below - base_below).abs().max() <= 1, name


@pytest.fixture(scope="module")
def widest() -> dict[str, tuple]:
    """Results of the widest cut, by feature, trained once."""
    return {}


@pytest.mark.parametrize("batch", [8, 2, 1])
@pytest.mark.parametrize("name", FEATURES)
def test_parameters_do_not_depend_on_the_cut(name, batch, widest):
    feature = dict(batch=ROWS, steps=4) | FEATURES[name]
    if name not in widest:
        widest[name] = (*train_cut(feature), parameters(trainer_for(feature)))
    base, base_log, start = widest[name]
    trained, log = train_cut(feature | dict(batch=batch))
    assert distance(base, start) > 1e-2  # it did train
    assert distance(base, trained) < TOLERANCE
    assert losses(log) == pytest.approx(losses(base_log), abs=1e-4)
    check_histograms(log, base_log)


def test_the_clip_reaches_the_objective():
    cut = dict(batch=ROWS, steps=4)
    assert distance(train_cut(cut | FEATURES["clipped scores"])[0], train_cut(cut)[0]) > 10 * TOLERANCE


def test_the_widest_cut_is_the_paper_in_a_plain_loop():
    cut = dict(batch=ROWS, steps=4, max_steps=8)
    tokenizer, dataset = tiny_tokenizer(), prompts_dataset(32)
    # 16 prompts per generation, each GROUP times in a row; the sampler repeats the 64 rows for every micro-step
    rows = list(trainer_for(cut)._get_train_sampler())
    order = [*rows[:64:GROUP], *rows[4 * 64 : 5 * 64 : GROUP]]
    generations = []
    for first in (0, 16):
        steps = []
        for step in range(4):
            rollouts = []
            for index in order[first + 4 * step : first + 4 * step + 4]:
                prompt = dataset[index]["prompt"]
                completions = [fixed_completion(prompt, k) for k in range(GROUP)]
                for ids, reward in zip(completions, fixed_reward([prompt] * GROUP, completions), strict=True):
                    label = torch.nan if reward is None else reward
                    rollouts.append(
                        dict(prompt=tokenizer(prompt)["input_ids"], completion=ids, label=label, group=index)
                    )
            steps.append(rollouts)
        generations.append(steps)
    expected = dict(reference.train(tiny_model(), generations, lr=1e-2, epsilon=1e-5).named_parameters())
    trained, _ = train_cut(cut)
    assert distance(trained, {name: p.detach() for name, p in expected.items()}) < TOLERANCE


@pytest.mark.parametrize("batch", [4, 2])
def test_a_short_last_window_is_a_mean_over_its_own_groups(batch):
    # 10 prompts, 2 per generation, 4 per optimizer step: each epoch ends with a step of 2
    feature = dict(prompts=10, options=dict(num_train_epochs=2), max_steps=-1)
    base, base_log = train_cut(feature | dict(batch=8, accumulation=2, per_generation=1))
    trained, log = train_cut(feature | dict(batch=batch, accumulation=16 // batch, per_generation=8 // batch))
    assert len(losses(log)) == 6
    assert losses(log) == pytest.approx(losses(base_log), abs=1e-4)
    assert distance(base, trained) < TOLERANCE


def test_groups_torn_apart_between_micro_steps_are_caught(monkeypatch):
    """Weights from the part of a group that is in the micro-step, as if the plan had whole groups: plainly wrong."""
    base, _ = train_cut(dict(batch=ROWS, steps=4))
    monkeypatch.setattr(StepPlan, "whole_groups", property(lambda self: True, lambda self, value: None), raising=False)
    torn, _ = train_cut(dict(batch=2, steps=4))
    assert distance(base, torn) > 100 * TOLERANCE


def test_the_shuffling_of_trl_is_caught():
    """Rows in the order that TRL's `_prepare_inputs` would give them belong to other groups."""
    from trl.trainer.utils import shuffle_sequence_dict

    class Shuffled(REALTrainer):
        def _generate_and_score_completions(self, inputs):
            return shuffle_sequence_dict(super()._generate_and_score_completions(inputs))

    base, _ = train_cut(dict(batch=ROWS, steps=4))
    shuffled, _ = train_cut(dict(batch=ROWS, steps=4), Shuffled)
    assert distance(base, shuffled) > 100 * TOLERANCE


def test_a_flipped_sign_is_caught(monkeypatch):
    base, _ = train_cut(dict(batch=ROWS, steps=4))
    pick = StepWeights.pick
    monkeypatch.setattr(StepWeights, "pick", lambda self, rows, table, filler: -pick(self, rows, table, filler))
    flipped, _ = train_cut(dict(batch=ROWS, steps=4))
    assert distance(base, flipped) > 100 * TOLERANCE


def test_forwards_without_gradient_run_only_where_they_are_needed(monkeypatch):
    """None on policy; old log-probabilities for later steps; a second pass for scores if groups are spread out."""
    passes: dict[str, int] = {}
    policy_logps = Forwards.policy_logps

    def counted(self, batch):
        caller = inspect.currentframe().f_back.f_code.co_name
        purpose = {"_remember_logps": "old", "_score": "scores"}.get(caller)
        if purpose:  # else the trial of packed rows, once
            passes[purpose] = passes.get(purpose, 0) + 1
        return policy_logps(self, batch)

    monkeypatch.setattr(Forwards, "policy_logps", counted)
    train_cut(dict(batch=ROWS, steps=1))
    assert passes == {}  # every step is on policy
    for batch in (ROWS, GROUP):
        train_cut(dict(batch=batch, steps=4))
        assert set(passes) == {"old"}  # groups are whole in every micro-step
    passes.clear()
    train_cut(dict(batch=1, steps=4))
    assert passes["old"] >= passes["scores"] > 10
