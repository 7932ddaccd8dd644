"""The estimators and the intervals against numbers worked out by hand."""

from itertools import combinations
from math import comb, sqrt

import numpy as np
import pytest

from trl_real.evaluation.estimates import make_estimate, pass_at_k, pass_powers, resample_means


@pytest.mark.parametrize("samples", [1, 3, 4, 5, 6, 16])
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(samples: int) -> None:
    counts = range(samples + 1)
    for k in range(1, min(samples, 6) + 1):
        subsets = [list(combinations([True] * count + [False] * (samples - count), k)) for count in counts]
        shares = [sum(map(any, each)) / len(each) for each in subsets]
        assert pass_at_k([*counts], samples, k) == pytest.approx(shares)


@pytest.mark.parametrize("k", [0, 5])
def test_k_must_be_between_1_and_the_number_of_samples(k: int) -> None:
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
    counts = range(problems + 1)
    cumulated = np.cumsum([comb(problems, n) * share**n * (1 - share) ** (problems - n) for n in counts])
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
