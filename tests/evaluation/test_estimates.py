"""The estimators and the intervals against numbers worked out by hand."""

from itertools import combinations
from math import comb, sqrt

import numpy as np
import pytest

from trl_real.evaluation.estimates import make_estimate, pass_at_k, pass_powers, resample_means


def test_pass_at_k_matches_hand_worked_numbers() -> None:
    # 2 of 4 right: of the 6 pairs only one is all wrong
    assert pass_at_k([2], 4, 2) == pytest.approx([5 / 6])
    # 1 of 5 right: of the 10 triples 4 miss it
    assert pass_at_k([1], 5, 3) == pytest.approx([0.6])
    # 3 of 16 right: 1 - (13 * 12 * 11 * 10) / (16 * 15 * 14 * 13)
    assert pass_at_k([3], 16, 4) == pytest.approx([1 - 17160 / 43680])
    assert pass_at_k([0, 1, 2, 3], 3, 1) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    # fewer wrong ones than tries: one of them is right
    assert pass_at_k([0, 2, 3], 4, 3).tolist() == [0, 1, 1]


@pytest.mark.parametrize("samples", [1, 4, 6])
def test_pass_at_k_is_the_share_of_all_subsets_with_a_right_sample(samples: int) -> None:
    for right in range(samples + 1):
        for k in range(1, samples + 1):
            subsets = list(combinations([True] * right + [False] * (samples - right), k))
            assert pass_at_k([right], samples, k) == pytest.approx([sum(map(any, subsets)) / len(subsets)])


@pytest.mark.parametrize("k", [0, 5])
def test_more_tries_than_samples_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k: {k} is not between 1 and the number of samples, 4"):
        pass_at_k([1], 4, k)


def test_the_powers_end_with_the_number_of_samples() -> None:
    assert [pass_powers(samples) for samples in (1, 2, 6, 16)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]]


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_problems_that_are_all_alike_give_an_interval_without_width(value: float) -> None:
    estimate = make_estimate(value, resample_means(np.full(30, value), "aime24"))
    assert (estimate.low, estimate.value, estimate.high) == (value, value, value)


@pytest.mark.parametrize(("ones", "problems"), [(12, 30), (250, 500), (1, 30)])
def test_the_interval_of_zeros_and_ones_is_that_of_the_binomial_distribution(ones: int, problems: int) -> None:
    share = ones / problems
    chances = [
        comb(problems, count) * share**count * (1 - share) ** (problems - count) for count in range(problems + 1)
    ]
    cumulated = np.cumsum(chances)
    exact = [np.searchsorted(cumulated, level) / problems for level in (0.025, 0.975)]
    means = resample_means(np.array([1] * ones + [0] * (problems - ones)), "set")
    estimate = make_estimate(share, means)
    # the quantile of 10,000 draws may be the neighbouring count
    assert [estimate.low, estimate.high] == pytest.approx(exact, abs=1.01 / problems)
    assert estimate.low < share < estimate.high
    assert means.std() == pytest.approx(sqrt(share * (1 - share) / problems), rel=0.03)


def test_a_paired_interval_is_narrower_where_two_models_find_the_same_problems_hard() -> None:
    """Of 40 problems both solve 20; the second also solves 4 more. The difference varies like that of 4 ones."""
    one = np.array([1] * 20 + [0] * 20)
    other = np.array([1] * 24 + [0] * 16)
    paired = resample_means(other, "set") - resample_means(one, "set")
    unpaired = resample_means(other, "set") - resample_means(one, "another set")
    assert paired.std() == pytest.approx(sqrt(0.1 * 0.9 / 40), rel=0.03)
    assert unpaired.std() == pytest.approx(sqrt(0.6 * 0.4 / 40 + 0.5 * 0.5 / 40), rel=0.03)
    estimate = make_estimate(0.1, paired)
    assert (estimate.low, estimate.high) == pytest.approx((0.025, 0.2), abs=0.026)
