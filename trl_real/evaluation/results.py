"""
From the verdicts on the samples of a model to its numbers.

In: stores and verdicts. Out: for each model and set the estimates with their intervals and the resampled means behind
them, averages over the sets, and the differences between models. Left out: the mathematics
(`estimates.py`) and the tables (`tables.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .estimates import Estimate, make_estimate, pass_at_k, pass_powers, resample_means
from .problems import problems_digest
from .sampling.store import SampleStore


@dataclass
class Result:
    """
    One model on one set of problems.

    Args:
        settings (`dict[str, Any]`):
            Those of the store.
        digest (`str`):
            Equal for models that were asked the same problems.
        samples (`int`):
            Samples of each problem.
        right (`list[int]`):
            Right samples of each problem.
        estimates (`dict[str, Estimate]`):
            `pass@k`, `truncated`, `tokens`, `unjudged`, and as the judge has them `no_answer` and `timeouts`, or
            `reward`.
        means (`dict[str, np.ndarray]`):
            The resampled means of each.
    """

    settings: dict[str, Any]
    digest: str
    samples: int
    right: list[int]
    estimates: dict[str, Estimate]
    means: dict[str, np.ndarray]

    @property
    def model(self) -> str:
        return self.settings["sampling"]["model"]

    @property
    def set(self) -> str:
        return self.settings["set"]


def make_result(store: SampleStore, verdicts: Sequence[dict[str, Any]]) -> Result:
    """
    The numbers of one model on one set.

    Args:
        store (`SampleStore`):
            A store that lacks no sample.
        verdicts (`list[dict]`):
            One for each of its samples.

    Returns:
        `Result`: the numbers.
    """
    samples = store.settings["samples"]
    by_problem: dict[int, list[dict[str, Any]]] = {row["problem"]: [] for row in store.problems}
    for verdict in verdicts:
        by_problem[verdict["problem"]].append(verdict)
    groups = list(by_problem.values())
    if any(len(group) != samples for group in groups):
        raise ValueError(f"output: {store.folder} does not have {samples} samples of each problem.")
    right = [sum(verdict["right"] is True for verdict in group) for group in groups]
    values = {f"pass@{k}": pass_at_k(right, samples, k) for k in pass_powers(samples)}
    for name, read in _readers(verdicts[0]).items():
        values[name] = np.array([np.mean(list(map(read, group))) for group in groups])
    resampled = resample_means(np.stack(list(values.values()), axis=1), store.set)
    means = dict(zip(values, resampled.T, strict=True))
    estimates = {name: make_estimate(values[name].mean(), means[name]) for name in values}
    return Result(store.settings, problems_digest(store.problems), samples, right, estimates, means)


def _readers(verdict: dict[str, Any]) -> dict[str, Any]:
    readers = {
        "truncated": lambda verdict: verdict["truncated"],
        "tokens": lambda verdict: verdict["tokens"],
        "unjudged": lambda verdict: verdict["right"] is None,
    }
    if "answer" in verdict:
        readers |= {
            "no_answer": lambda verdict: verdict["answer"] is None,
            "timeouts": lambda verdict: verdict["timeout"],
        }
    if "reward" in verdict:
        readers["reward"] = lambda verdict: verdict["reward"] or 0.0
    return readers


def average(results: Sequence[Result], metric: str = "pass@1") -> Estimate:
    """Mean over sets, every set with the same weight, whatever its size."""
    means = np.mean([result.means[metric] for result in results], axis=0)
    return make_estimate(np.mean([result.estimates[metric].value for result in results]), means)


def difference(ones: Sequence[Result], others: Sequence[Result], metric: str = "pass@1") -> Estimate | None:
    """
    What the second model is ahead of the first, on average over sets, problem by problem.

    Args:
        ones (`list[Result]`), others (`list[Result]`):
            Results of either model on the same sets, in the same order.
        metric (`str`, *optional*, defaults to `"pass@1"`):
            Which number.

    Returns:
        `Estimate` or `None`: the difference; `None` if they were asked different problems.
    """
    if [result.digest for result in ones] != [result.digest for result in others]:
        return None
    pairs = list(zip(ones, others, strict=True))
    means = np.mean([other.means[metric] - one.means[metric] for one, other in pairs], axis=0)
    value = np.mean([other.estimates[metric].value - one.estimates[metric].value for one, other in pairs])
    return make_estimate(value, means)
