"""
pass@k and means over problems, with percentile intervals of a bootstrap over the problems.

All models share the resamples of a set, so differences between models are paired; different sets are resampled
independently. The percentiles are not corrected for few problems: with 30 the interval is a little too narrow, and it
has no width if all problems have the same value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its interval."""

    value: float
    low: float
    high: float


def pass_at_k(correct: Sequence[int] | np.ndarray, samples: int, k: int) -> np.ndarray:
    """
    For each problem the chance that one of k samples is correct: 1 - C(n - c, k) / C(n, k), unbiased for c correct of
    n samples (Chen et al. 2021, arXiv 2107.03374). With k = 1 it is the mean of the samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k: {k} is not between 1 and the number of samples, {samples}.")
    chances = [1 - math.comb(samples - count, k) / math.comb(samples, k) for count in range(samples + 1)]
    return np.array(chances)[np.asarray(correct)]


def pass_powers(samples: int) -> list[int]:
    """The k of the table's columns: 1, 2, 4, ... and the number of samples."""
    powers = [2**exponent for exponent in range(samples.bit_length()) if 2**exponent < samples]
    return [*powers, samples]


@lru_cache(maxsize=8)  # shared by all models; 130 MB for the paper's six benchmarks
def _resamples(name: str, problems: int) -> np.ndarray:
    """How often each problem is drawn in each resample, (R, P)."""
    generator = np.random.default_rng([problems, *name.encode()])
    return generator.multinomial(problems, np.full(problems, 1 / problems), size=RESAMPLES) / problems


def resample_means(values: np.ndarray, name: str) -> np.ndarray:
    """
    Means (R,) or (R, M) of many resamples of the problems, from their values (P,) or (P, M). The same set name and
    number of problems give the same resamples.
    """
    values = np.asarray(values, dtype=float)
    base = values[0]  # subtracted and added again, so that equal values stay exactly what they are
    return _resamples(name, len(values)) @ (values - base) + base


def make_estimate(value: float | np.floating, means: np.ndarray) -> Estimate:
    """The estimate with the interval of its resampled means (R,)."""
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))
