"""
From the verdicts on the samples of a model to its numbers.

In: what was asked, and the verdicts. Out: for each model and set the estimates with their intervals and the resampled
means behind them, averages over the sets, and the differences between models. Left out: the mathematics
(`estimates.py`) and the tables (`tables.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .estimates import Estimate, make_estimate, pass_at_k, pass_powers, resample_means


@dataclass
class Result:
    """
    One model on one set of problems.

    Args:
        settings (`dict[str, Any]`):
            `set`, `title`, `samples`, `judge`, `sampling`, and `training_data`.
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


def make_result(about: dict[str, Any], verdicts: Sequence[dict[str, Any]]) -> Result:
    """
    The numbers of one model on one set.

    Args:
        about (`dict[str, Any]`):
            What was asked: the settings of a [`Result`], and a word for each problem in `problems`.
        verdicts (`list[dict]`):
            One for each sample of each problem, as in `verdicts.py`; those of other problems or samples do not count.

    Returns:
        `Result`: the numbers.
    """
    samples, problems = about["samples"], about["problems"]
    groups: list[list[dict[str, Any]]] = [[] for _ in problems]
    for verdict in verdicts:
        if verdict["problem"] < len(problems) and verdict["sample"] < samples:
            groups[verdict["problem"]].append(verdict)
    if any(len(group) != samples for group in groups):
        raise ValueError(f"output: there are not {samples} samples of each problem of {about['set']}.")
    right = [sum(verdict["right"] is True for verdict in group) for group in groups]
    values = {f"pass@{k}": pass_at_k(right, samples, k) for k in pass_powers(samples)}
    for name, read in _readers(verdicts[0]).items():
        values[name] = np.array([np.mean(list(map(read, group))) for group in groups])
    resampled = resample_means(np.stack(list(values.values()), axis=1), about["set"])
    means = dict(zip(values, resampled.T, strict=True))
    estimates = {name: make_estimate(values[name].mean(), means[name]) for name in values}
    settings = {name: value for name, value in about.items() if name not in ("problems", "prompts")}
    return Result(settings, " ".join(problems), samples, right, estimates, means)


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
