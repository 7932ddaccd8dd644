"""
What a number of right and wrong samples says of a model, with intervals.

In: for each problem how many of its samples are right, or any other number. Out: pass@k, and means over the problems
with percentile intervals of a bootstrap over the problems. One set is resampled alike for all models, so differences
between models are paired; different sets are resampled independently. Left out: correcting the percentiles for few
problems (with 30 the interval is a little too narrow, and without width where all problems are alike).
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


def pass_at_k(right: Sequence[int] | np.ndarray, samples: int, k: int) -> np.ndarray:
    """
    For each problem the chance that one of k samples is right: 1 - C(n - c, k) / C(n, k), unbiased where c of n were
    right (Chen et al. 2021, arXiv 2107.03374). With k = 1 it is the mean of the samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k: {k} is not between 1 and the number of samples, {samples}.")
    chances = [1 - math.comb(samples - count, k) / math.comb(samples, k) for count in range(samples + 1)]
    return np.array(chances)[np.asarray(right)]


def pass_powers(samples: int) -> list[int]:
    """The k that are worth a column: 1, 2, 4, ... and the number of samples."""
    powers = [2**exponent for exponent in range(samples.bit_length()) if 2**exponent < samples]
    return [*powers, samples]


@lru_cache(maxsize=8)  # all models ask for the same; 130 MB for the paper's six benchmarks
def _resamples(name: str, problems: int) -> np.ndarray:
    """How often each problem is drawn in each resample, (R, P)."""
    generator = np.random.default_rng([problems, *name.encode()])
    return generator.multinomial(problems, np.full(problems, 1 / problems), size=RESAMPLES) / problems


def resample_means(values: np.ndarray, name: str) -> np.ndarray:
    """
    Means (R,) or (R, M) of many resamples of the problems, from their values (P,) or (P, M). The same name of a set
    and number of problems give the same resamples.
    """
    values = np.asarray(values, dtype=float)
    base = values[0]  # taken out and added again, so that values that are all alike stay exactly what they are
    return _resamples(name, len(values)) @ (values - base) + base


def make_estimate(value: float, means: np.ndarray) -> Estimate:
    """The estimate with the interval of its resampled means (R,)."""
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))
