"""
What a number of right and wrong samples says of a model, with intervals.

In: for each problem how many of its samples are right, or any other number. Out: pass@k, and means over the problems
with intervals that say how they would vary with other problems of the same kind. NumPy alone.

The intervals are percentiles of a bootstrap over the problems (the samples of a problem stay together). One set of
problems is resampled alike for all models, so that the differences between two models are paired; different sets are
resampled independently. Left out: correcting the percentiles where there are few problems (with 30 of them the
interval is a little too narrow, and it has no width where all problems are alike).
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
    For each problem the chance that at least one of k samples is right: 1 - C(n - c, k) / C(n, k), which is unbiased
    where c of n samples were right (Chen et al. 2021, arXiv 2107.03374). With k = 1 it is the mean of the samples.

    Args:
        right (`Sequence[int]`):
            Number of right samples of each problem.
        samples (`int`):
            Number of samples of each problem.
        k (`int`):
            How many of them may try, at most `samples`.

    Returns:
        `np.ndarray`: one number in [0, 1] for each problem.

    Example:
    ```python
    >>> pass_at_k([2], samples=4, k=2)  # of 6 pairs of samples, one has no right one
    array([0.83333333])
    ```
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
    Means over the problems of many resamples.

    Args:
        values (`np.ndarray` of shape `(P,)` or `(P, M)`):
            One row for each problem, in the same order for every model.
        name (`str`):
            Name of the set of problems. The same name and number of problems give the same resamples.

    Returns:
        `np.ndarray` of shape `(R,)` or `(R, M)`: the mean of each resample.
    """
    values = np.asarray(values, dtype=float)
    base = values[0]  # taken out and added again, so that values that are all alike stay exactly what they are
    return _resamples(name, len(values)) @ (values - base) + base


def make_estimate(value: float, means: np.ndarray) -> Estimate:
    """The estimate with the interval of its resampled means (R,)."""
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))
