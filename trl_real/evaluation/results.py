"""
From the log of a model on a set to its numbers.

In: logs of Inspect. Out: estimates with their intervals and the resampled means behind them, averages over sets, and
differences between models. Left out: the mathematics (`estimates.py`) and the tables (`tables.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from inspect_ai.log import EvalLog, read_eval_log, read_eval_log_sample_summaries, read_eval_log_samples

from .estimates import Estimate, make_estimate, pass_at_k, pass_powers, resample_means
from .tasks import judge_output


ABOUT = "trl_real"  # what our part of a log's metadata is called
UNREAD = {"events", "attachments", "messages", "store"}  # of a sample, which may be long


@dataclass
class Result:
    """What a log says of a model and a set (`running.ask`), right samples per problem, and of each metric its
    estimate and the resampled means behind it."""

    about: dict[str, Any]
    samples: int
    right: list[int]
    estimates: dict[str, Estimate]
    means: dict[str, np.ndarray]

    @property
    def set(self) -> str:
        return self.about["set"]


def find_logs(output: Path) -> list[EvalLog]:
    """The newest log of each model and set in a folder, without its samples; names begin with the second of start."""
    paths = sorted(output.glob("*.eval"), key=lambda path: (path.name[:19], path.stat().st_mtime_ns))
    headers = [read_eval_log(str(path), header_only=True) for path in paths]
    ours = [header for header in headers if ABOUT in (header.eval.metadata or {})]
    return list({(about_of(header)["model"], about_of(header)["set"]): header for header in ours}.values())


def about_of(log: EvalLog) -> dict[str, Any]:
    return log.eval.metadata[ABOUT]


def read_result(log: EvalLog, limit: int | None = None, require_think: bool | None = None) -> Result:
    """The numbers of a log, for the first problems only, and by another rule of the verifier, if wanted."""
    about = about_of(log)
    changes = {} if require_think is None or "reward_funcs" in about["judge"] else {"require_think": require_think}
    about |= {"judge": about["judge"] | changes}
    rows = {
        (row.id, row.epoch): row.scores["verdict"].metadata for row in read_eval_log_sample_summaries(log.location)
    }
    if any(row["judge"] != about["judge"] for row in rows.values()) and "reward_funcs" not in about["judge"]:
        samples = read_eval_log_samples(log.location, exclude_fields=UNREAD)
        rows = {(row.id, row.epoch): judge_output(row.output, row.metadata, about["judge"]) for row in samples}
    rows = {place: row for place, row in rows.items() if limit is None or place[0] <= limit}
    return make_result(about, rows, log.eval.config.epochs)


def make_result(about: dict[str, Any], verdicts: dict[tuple[int, int], dict[str, Any]], samples: int) -> Result:
    """The numbers from the verdicts (`tasks.judge_output`) by problem and sample, so many for each; both from 1 on."""
    problems = range(1, max(problem for problem, _ in verdicts) + 1)
    places = [[(problem, sample) for sample in range(1, samples + 1)] for problem in problems]
    if any(place not in verdicts for group in places for place in group):
        raise ValueError(f"output: there are not {samples} samples of each problem of {about['set']}.")
    groups = [[verdicts[place] for place in group] for group in places]
    right = [sum(verdict["right"] is True for verdict in group) for group in groups]
    values = {f"pass@{k}": pass_at_k(right, samples, k) for k in pass_powers(samples)}
    numbers = [list(map(_numbers, group)) for group in groups]
    values |= {
        name: np.array([np.mean([each[name] for each in group]) for group in numbers]) for name in numbers[0][0]
    }
    resampled = resample_means(np.stack(list(values.values()), axis=1), about["set"])
    means = dict(zip(values, resampled.T, strict=True))
    estimates = {name: make_estimate(values[name].mean(), means[name]) for name in values}
    return Result(about, samples, right, estimates, means)


def _numbers(verdict: dict[str, Any]) -> dict[str, float]:
    found = {name: verdict[name] for name in ("truncated", "tokens")} | {"unjudged": verdict["right"] is None}
    if "reward" in verdict:
        return found | {"reward": verdict["reward"] or 0.0}
    return found | {"no_answer": verdict["answer"] is None, "timeouts": verdict["timeout"]}


def average(results: Sequence[Result]) -> Estimate:
    """Mean of pass@1 over sets, every set with the same weight, whatever its size."""
    means = np.mean([result.means["pass@1"] for result in results], axis=0)
    return make_estimate(np.mean([result.estimates["pass@1"].value for result in results]), means)


def difference(ones: Sequence[Result], others: Sequence[Result]) -> Estimate | None:
    """How far pass@1 of `others` is ahead, problem by problem, on average over sets; `None` if those differ."""
    pairs = list(zip(ones, others, strict=True))
    if any(_asked(one) != _asked(other) for one, other in pairs):
        return None
    means = np.mean([other.means["pass@1"] - one.means["pass@1"] for one, other in pairs], axis=0)
    value = np.mean([other.estimates["pass@1"].value - one.estimates["pass@1"].value for one, other in pairs])
    return make_estimate(value, means)


def _asked(result: Result) -> tuple[str, int]:
    return result.about["problems"], len(result.right)
