"""The histograms of scores and weights: what is counted, and that nothing but the rollouts decides the counts."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from tests.support.cuts import train_cut, trainer_for
from trl_real.metrics.histograms import HISTOGRAMS, WEIGHT_BINS, count_bins


def counted(log: list[dict[str, Any]]) -> list[dict[str, list[int]]]:
    """The histograms of every record that has them."""
    return [{name: entry[name] for name in HISTOGRAMS} for entry in log if HISTOGRAMS[0] in entry]


def total(records: list[dict[str, list[int]]], name: str) -> list[int]:
    return np.sum([record[name] for record in records], axis=0).tolist()


def test_five_rollouts_are_counted_by_hand() -> None:
    scores = torch.tensor([0.0, 0.02, -0.5, 5.0, 1.0, math.nan])
    labels = torch.tensor([1.0, 1.0, 0.0, 0.0, math.nan, 1.0])
    weights = torch.tensor([-0.4, -0.02, 1.0, 1.999, 0.0, math.nan])  # of at most 1/τ = 2
    counts = {
        name: count.nonzero().flatten().tolist() for name, count in count_bins(scores, labels, weights, 0.5).items()
    }
    assert counts == {
        # 21 bins: 10 negative, about 0, 10 positive: below 0.0003, 0.001, 0.003, 0.01, 0.03, ...
        "scores/positive_histogram": [10, 15],
        "scores/negative_histogram": [2, 20],
        # 20 bins of 0.05
        "weights/positive_histogram": [0, 4],
        "weights/negative_histogram": [10, 19],
    }


@pytest.mark.parametrize("rounding", [-1e-7, 0, 1e-7])
def test_rounding_does_not_move_the_weights_of_an_on_policy_step(rounding: float) -> None:
    weights = torch.tensor([1 / (1 + n) for n in range(1, 20)]) * (1 + rounding)
    counts = count_bins(torch.zeros(19), torch.ones(19), weights, 1.0)["weights/positive_histogram"]
    expected = [20 // (1 + n) for n in range(1, 20)]
    assert counts.tolist() == np.bincount(expected, minlength=WEIGHT_BINS).tolist()


def test_a_record_has_the_sum_of_its_steps() -> None:
    _, single = train_cut(dict(batch=8, steps=4))
    _, summed = train_cut(dict(batch=8, steps=4, options=dict(logging_steps=4)))
    assert len(counted(summed)) == 2
    for name in HISTOGRAMS:
        assert counted(summed)[0][name] == total(counted(single)[:4], name)
        assert counted(summed)[1][name] == total(counted(single)[4:], name)


def test_evaluation_is_not_counted() -> None:
    options = dict(eval_strategy="steps", eval_steps=2, per_device_eval_batch_size=8, logging_steps=4)
    _, log = train_cut(dict(batch=8, steps=4, eval=4, max_steps=8, options=options))
    _, without = train_cut(dict(batch=8, steps=4, max_steps=8, options=dict(logging_steps=4)))
    assert sum("eval_loss" in entry for entry in log) == 4
    assert counted(log) == counted(without)
    assert not any(HISTOGRAMS[0] in entry for entry in log if "eval_loss" in entry)


def test_trackers_are_given_numbers_alone() -> None:
    class Tracker(TrainerCallback):
        given: list[dict[str, Any]] = []

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            self.given.append(dict(logs))

    trainer = trainer_for(dict(batch=8, steps=4, max_steps=4))
    trainer.add_callback(Tracker)
    trainer.train()
    assert len(Tracker.given) == 5
    assert all(isinstance(value, int | float) for logs in Tracker.given for value in logs.values())
