"""The warning about updates that overshoot: given once, for sinking correct rollouts or for scores near tau."""

import logging

import pytest
import torch

from tests.support.cuts import trainer_for
from trl_real.metrics.drift import WINDOW, DriftWatch


def sentences(steps: list[tuple[float, float]], tau: float = 0.5) -> list[tuple[int, str]]:
    """Step and text of every warning, for steps of (mean score of correct rollouts, mean size of a score)."""
    watch = DriftWatch(tau)
    found = [watch.warning({"scores/positive_mean": mean, "scores/abs_mean": size}) for mean, size in steps]
    return [(index, text) for index, text in enumerate(found) if text]


def test_rising_correct_rollouts_give_no_warning():
    assert sentences([(0.001, 0.008)] * 4 * WINDOW) == []


def test_correct_rollouts_that_sink_are_reported_once_when_the_window_is_full():
    [(step, text)] = sentences([(-0.012, 0.035)] * 4 * WINDOW)
    assert step == WINDOW - 1 and "less likely" in text and "-0.012" in text and "learning_rate" in text


def test_sinking_is_measured_by_the_size_of_the_scores():
    # Both means over the window: -0.0014 is below, -0.0016 above 0.15 * 0.01
    assert sentences([(-0.0014, 0.01)] * WINDOW) == []
    assert len(sentences([(-0.0016, 0.01)] * WINDOW)) == 1
    assert len(sentences([(-0.0032, 0.02), (0.0, 0.0001)] * WINDOW)) == 1


@pytest.mark.parametrize(("tau", "warned"), [(0.5, False), (0.4, True)])
def test_scores_near_tau_are_reported(tau, warned):
    found = sentences([(0.02, 0.09)] * WINDOW, tau)  # 0.2 * 0.5 = 0.1 and 0.2 * 0.4 = 0.08
    assert bool(found) == warned
    assert not warned or "far from the one that generated" in found[0][1]


def test_steps_on_policy_or_without_a_correct_rollout_do_not_count():
    watch = DriftWatch(0.5)
    for _ in range(WINDOW - 1):
        assert watch.warning({"scores/positive_mean": -0.1, "scores/abs_mean": 0.2}) is None
        assert watch.warning({"scores/positive_mean": 0.0, "scores/abs_mean": 0.0}) is None
        assert watch.warning({"entropy": 1.0}) is None
    assert watch.warning({"scores/positive_mean": -0.1, "scores/abs_mean": 0.2})


@pytest.mark.parametrize(
    ("rate", "loss", "warned"),
    [
        (0.3, {}, True),
        (1e-5, {}, False),
        (0.3, dict(score_clip=0.02), False),
        (0.3, dict(loss_type="docs.examples.own_objective:all_pairs"), False),
    ],
)
def test_a_training_that_overshoots_warns(rate, loss, warned, caplog):
    """No warning with a clip, which limits drift, or with a custom loss, whose limits are unknown."""
    options = dict(learning_rate=rate, num_iterations=4) | loss
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        trainer_for(dict(batch=16, steps=4, max_steps=48, options=options)).train()
    told = [record.getMessage() for record in caplog.records if "off-policy steps" in record.getMessage()]
    assert len(told) == int(warned)
