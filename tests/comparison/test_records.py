"""Statistics over seeds against numbers worked by hand, and the table made of them."""

import math
from typing import Any

import pytest

from docs.results.studies.more import cost_of_level, drift_table
from trl_real.comparison.records import best_learning_rate, paired_difference, t_interval
from trl_real.comparison.study import make_study
from trl_real.comparison.tables import FULL, edges, study_table, verdict


def record(method: str, rate: float, seed: int, test: float, validation: float = 0.5, **others: Any) -> dict[str, Any]:
    numbers = dict(entropy=0.25, clipped_steps=1.0, cpu_seconds=14.4, trained_tokens=36000, curve={}, settings=method)
    return dict(method=method, learning_rate=rate, seed=seed, test=test, validation=validation) | numbers | others


def test_an_interval_is_students() -> None:
    # Mean 2, deviation 1, t(0.975, 2) = 4.303: 4.303 / sqrt(3)
    interval = t_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.count) == (2.0, 3)
    assert interval.half_width == pytest.approx(4.303 / math.sqrt(3))
    assert f"{interval}" == "2.000 ± 2.484" and f"{interval:+.1f}" == "+2.0 ± 2.5"
    assert f"{t_interval([0.5])}" == "0.500"
    # Beyond the table: 29, 31, 39 and 999 degrees of freedom; the deviation of the mean is 1 / sqrt(count - 1)
    found = [t_interval([1.0, -1.0] * half).half_width * math.sqrt(2 * half - 1) for half in (15, 16, 20, 500)]
    assert found == pytest.approx([2.045, 2.040, 2.023, 1.962], abs=0.004)


def test_the_learning_rate_is_chosen_on_the_validation_prompts() -> None:
    records = [record("A", 1e-3, seed, test=0.9, validation=0.4) for seed in range(2)]
    records += [record("A", 1e-4, seed, test=0.1, validation=0.3 + 0.3 * seed) for seed in range(2)]  # mean 0.45
    assert best_learning_rate(records) == 1e-4
    # A seed that only one learning rate has says nothing about which is better
    assert best_learning_rate([*records, record("A", 1e-3, 7, test=0.9, validation=0.9)]) == 1e-4


def test_differences_are_paired_by_seed() -> None:
    first = [record("A", 1e-3, seed, test) for seed, test in ((0, 0.9), (1, 0.6), (2, 0.1))]
    second = [record("B", 1e-3, seed, test) for seed, test in ((1, 0.5), (0, 0.6), (7, 0.9))]
    # 0.3 with seed 0 and 0.1 with seed 1: mean 0.2, deviation 0.1414, t(0.975, 1) = 12.706
    difference = paired_difference(first, second)
    assert difference is not None and difference.count == 2
    assert (difference.mean, difference.half_width) == pytest.approx((0.2, 12.706 * 0.1))
    assert paired_difference(first, second[2:]) is None


def test_the_table_has_a_row_for_every_method_with_the_first_as_the_yardstick() -> None:
    records = [record("REAL", 1e-3, seed, 0.5 + 0.1 * seed, curve={"abs_score": [0.1]}) for seed in range(2)]
    records += [record("REAL", 1e-4, 0, 0.2, validation=0.1)]
    records += [record("GRPO", 1e-3, seed, 0.7 + 0.1 * seed, curve={"clip": [0.01]}) for seed in range(2)]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in study_table(records, FULL).splitlines()]
    assert lines[0][:4] == ["method", "lr", "test pass@1", "minus first row"]
    # Tests of 0.5 and 0.6: deviation 0.0707, 12.706 * 0.0707 / sqrt(2)
    assert lines[2][:5] == ["REAL", "0.001", "0.550 ± 0.635", "", "0.0001: 0.200 (1); 0.001: 0.550 (2)"]
    assert lines[3][:4] == ["GRPO", "0.001", "0.750 ± 0.635", "+0.200 ± 0.000"]
    assert (lines[2][8:10], lines[3][8:10]) == (["0.100", ""], ["", "0.010"])


def test_the_short_table_and_the_verdict_say_what_a_choice_needs() -> None:
    costs = dict(rollouts=64, sampled_tokens=1000, trained_tokens=600, seconds=9.6)
    records = [record("real", 1e-6, seed, test, **costs) for seed, test in enumerate((0.5, 0.6, 0.7))]
    records += [record("real", 2e-6, 0, 0.9, validation=0.4, **costs)]
    records += [record("grpo", 2e-6, seed, test, **costs) for seed, test in enumerate((0.4, 0.51, 0.59))]
    records += [record("dapo", 2e-6, seed, test, **costs) for seed, test in enumerate((0.4, 0.7, 0.7))]
    lines = study_table(records).splitlines()
    assert lines[0].startswith("| method | lr | seeds | held-out | minus first row | rollouts | tokens sampled |")
    # Mean 0.6, deviation 0.1: 4.303 * 0.1 / sqrt(3)
    assert lines[2] == "| real | 1e-06 | 3 | 0.600 ± 0.248 |  | 64 | 1000 | 600 | 10 |"
    # Differences -0.10, -0.09 and -0.11: 4.303 * 0.01 / sqrt(3)
    assert lines[3].startswith("| grpo | 2e-06 | 3 | 0.500 ± 0.237 | -0.100 ± 0.025 | 64 |")
    compared = make_study("s", {}, {"real": {}}, methods=["real"], learning_rates=[1e-6], seeds=[0])
    assert verdict(compared, records) == (
        "Held-out reward over 3 seeds, resolved against real: grpo -0.100 ± 0.025; not resolved against real: "
        "dapo +0.000 ± 0.248."
    )
    assert edges(records) == ["real: its best learning rate, 1e-06, is the lowest tested; also test 5e-07."]
    assert verdict(compared, records[:1]).startswith("Nothing is compared")
    assert verdict(compared, [records[0], records[4]]).endswith("grpo -0.100 (one seed has no interval: train more).")


def test_the_drift_table_counts_the_runs_that_would_be_warned() -> None:
    probe = dict(step=[0, 60, 120])
    fine = dict(abs_score=[0.008] * 30, positive_score=[0.001] * 29 + [None])
    sinking = dict(abs_score=[0.04] * 30, positive_score=[-0.01] * 30)
    far = dict(abs_score=[0.12] * 30, positive_score=[0.02] * 30)
    curves = enumerate((fine, sinking, far))
    runs = [record("REAL", 1e-3, seed, 0.5, curve=curve, probe=probe, tau=0.5) for seed, curve in curves]
    runs += [record("GRPO", 1e-3, 0, 0.7, curve=dict(clip=[0.1] * 30), probe=probe, tau=None)]
    lines = drift_table({"main": runs}).splitlines()
    assert len(lines) == 3  # GRPO has no scores
    # Means over the runs: (0.008 + 0.04 + 0.12) / 3 and (0.001 - 0.01 + 0.02) / 3
    assert lines[2] == "| main | REAL | 0.001 | 0.500 ± 0.000 | 0.0560 | +0.0037 | 2 of 3 |"
    calm = drift_table({"main": [run | dict(tau=1.0) for run in runs]}).splitlines()
    assert calm[2].endswith("1 of 3 |")  # 0.12 is not a fifth of 1.0
    off = drift_table({"main": [run | dict(tau=None) for run in runs], "same runs again": runs}).splitlines()
    assert len(off) == 3 and off[2].endswith("| off |")


def test_the_cost_of_a_level_lies_on_the_line_between_two_points_of_the_probe() -> None:
    run = {"probe": {"pass": [0.2, 0.4, 0.3, 0.7], "step": [0, 4, 8, 12], "cpu": [0.0, 10.0, 20.0, 30.0]}}
    assert cost_of_level(run, 0.3, "step") == pytest.approx(2)
    assert cost_of_level(run, 0.5, "cpu") == pytest.approx(25)
    assert cost_of_level(run, 0.1, "step") == 0
    assert cost_of_level(run, 0.8, "step") is None
