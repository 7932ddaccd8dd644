"""Statistics over seeds against numbers worked by hand, and the table made of them."""

import math
from typing import Any

import pytest

from trl_real.comparison import (
    best_learning_rate,
    curve_mean,
    paired_difference,
    study_table,
    t_interval,
)


def record(method: str, rate: float, seed: int, test: float, validation: float = 0.5, **others: Any) -> dict[str, Any]:
    numbers = dict(entropy=0.25, clipped_steps=1.0, cpu_seconds=14.4, trained_tokens=36000, curve={})
    return dict(method=method, learning_rate=rate, seed=seed, test=test, validation=validation) | numbers | others


def test_an_interval_is_students() -> None:
    # Mean 2, deviation 1, t(0.975, 2) = 4.303: 4.303 / sqrt(3)
    interval = t_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.count) == (2.0, 3)
    assert interval.half_width == pytest.approx(4.303 / math.sqrt(3))
    assert f"{interval}" == "2.000 ± 2.484" and f"{interval:+.1f}" == "+2.0 ± 2.484"


def test_beyond_the_table_the_quantile_goes_on() -> None:
    quantiles = [t_interval([1.0, -1.0] * half).half_width for half in (15, 16, 20, 500)]  # 29, 31, 39, 999 degrees
    counts = (30, 32, 40, 1000)
    deviations = [math.sqrt(count / (count - 1)) / math.sqrt(count) for count in counts]
    found = [half_width / deviation for half_width, deviation in zip(quantiles, deviations, strict=True)]
    assert found == pytest.approx([2.045, 2.040, 2.023, 1.962], abs=0.004)


def test_one_value_has_no_interval_and_none_is_an_error() -> None:
    assert f"{t_interval([0.5])}" == "0.500"
    with pytest.raises(ValueError, match="at least one"):
        t_interval([])


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


def test_a_curve_is_averaged_over_what_was_logged() -> None:
    assert curve_mean("clip")(dict(curve={"clip": [0.1, None, 0.3]})) == pytest.approx(0.2)
    assert curve_mean("clip")(dict(curve={})) is None


def test_the_table_has_a_row_for_every_method_with_the_first_as_the_yardstick() -> None:
    records = [record("REAL", 1e-3, seed, 0.5 + 0.1 * seed, curve={"abs_score": [0.1]}) for seed in range(2)]
    records += [record("REAL", 1e-4, 0, 0.2, validation=0.1)]
    records += [record("GRPO", 1e-3, seed, 0.7 + 0.1 * seed, curve={"clip": [0.01]}) for seed in range(2)]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in study_table(records).splitlines()]
    assert (
        lines[0][:4] == ["method", "lr", "test pass@1", "minus first row"] and len({len(line) for line in lines}) == 1
    )
    # Tests of 0.5 and 0.6: deviation 0.0707, 12.706 * 0.0707 / sqrt(2)
    assert lines[2][:6] == ["REAL", "0.001", "0.550 ± 0.635", "", "0.0001: 0.200; 0.001: 0.550", "2"]
    assert lines[3][:4] == ["GRPO", "0.001", "0.750 ± 0.635", "+0.200 ± 0.000"]
    assert (lines[2][9:11], lines[3][9:11]) == (["0.100", ""], ["", "0.010"])
