"""An optimizer step has the gradient of complete groups under every batching (one process).

Fixed rollouts, several steps of AdamW: parameters under each batching agree with those of the widest. `test_oracle.py`
compares one batching with the formulas.
"""

import inspect
from functools import cache
from typing import Any

import pytest
import torch

from tests.support.cuts import GROUP, ROWS, parameters, train_cut, trainer_for
from trl_real.metrics.histograms import HISTOGRAMS
from trl_real.step.forwards import Forwards


TOLERANCE = 1e-4

FEATURES: dict[str, dict[str, Any]] = {
    "4 steps per generation": dict(steps=4),
    "1 step per generation": dict(steps=1),
    "one-class groups kept": dict(options=dict(degenerate_groups="keep")),
    "lora with gradient checkpointing": dict(lora=True, checkpointing=True),
    "generation used twice in a step": dict(steps=1, options=dict(num_iterations=2)),
    "terms on trained rollouts only": dict(lora=True, options=dict(beta=0.2, entropy_coef=0.05, regularize="trained")),
    "a limit to the mismatch": dict(options=dict(mismatch_limit=150.0)),
    "tool mask": dict(env_mask=True, options=dict(beta=0.2, kl_target="old", entropy_coef=0.05)),
    "mixture of experts": dict(moe=True, steps=2),
    "packing to a multiple": dict(options=dict(pad_to_multiple_of=8)),
    "padded to a multiple": dict(options=dict(pack_rollouts=False, pad_to_multiple_of=8)),
    "padded mixture of experts": dict(moe=True, steps=2, options=dict(pack_rollouts=False)),
    "every prompt shared": dict(options=dict(num_generations=8, share_prompts=True)),
    "no prompt shared": dict(options=dict(share_prompts=False)),
}


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
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


@cache
def trained_at_once(name: str) -> tuple:
    """Parameters and log of the widest cut, and the parameters before."""
    cut = dict(batch=ROWS, steps=4) | FEATURES[name]
    return *train_cut(cut), parameters(trainer_for(cut))


@pytest.mark.parametrize("batch", [8, 2, 1])
@pytest.mark.parametrize("name", FEATURES)
def test_parameters_do_not_depend_on_the_cut(name, batch):
    base, base_log, start = trained_at_once(name)
    trained, log = train_cut(dict(steps=4) | FEATURES[name] | dict(batch=batch))
    assert distance(base, start) > 1e-2  # it did train
    assert distance(base, trained) < TOLERANCE
    assert losses(log) == pytest.approx(losses(base_log), abs=1e-4)
    check_histograms(log, base_log)


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
