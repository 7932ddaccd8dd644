"""From the log of a model on a set to estimates, averages over sets, and differences between models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from inspect_ai.log import EvalLog, read_eval_log, read_eval_log_sample_summaries, read_eval_log_samples

from .estimates import Estimate, make_estimate, pass_at_k, pass_powers, resample_means
from .tasks import judge_output


ABOUT = "trl_real"  # our key in a log's metadata
UNREAD = {"events", "attachments", "messages", "store"}  # long parts of a sample

Verdicts = dict[tuple[int, int], dict[str, Any]]  # by problem and sample, both from 1 on


@dataclass
class Result:
    """A model on a set (`about`, see `running.py`): correct samples per problem, and each metric's estimate and
    resampled means."""

    about: dict[str, Any]
    samples: int
    correct: list[int]
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
    return (log.eval.metadata or {})[ABOUT]


def read_result(log: EvalLog, limit: int | None = None, require_think: bool | None = None) -> Result:
    """The numbers of a log; `limit` keeps the first problems, `require_think` changes the verifier's rule."""
    about = about_of(log)
    changes = {} if require_think is None or "reward_funcs" in about["judge"] else {"require_think": require_think}
    about |= {"judge": about["judge"] | changes}
    verdicts: Verdicts = {}
    for row in read_eval_log_sample_summaries(log.location):
        verdicts[int(row.id), row.epoch] = (row.scores or {})["verdict"].metadata or {}
    if any(row["judge"] != about["judge"] for row in verdicts.values()) and "reward_funcs" not in about["judge"]:
        for row in read_eval_log_samples(log.location, exclude_fields=UNREAD):
            verdicts[int(row.id), row.epoch] = judge_output(row.output, row.metadata, about["judge"])
    verdicts = {place: row for place, row in verdicts.items() if limit is None or place[0] <= limit}
    return make_result(about, verdicts, log.eval.config.epochs or 1)


def make_result(about: dict[str, Any], verdicts: Verdicts, samples: int) -> Result:
    """The numbers from verdicts (`tasks.judge_output`), `samples` for each problem."""
    problems = range(1, max(problem for problem, _ in verdicts) + 1)
    places = [[(problem, sample) for sample in range(1, samples + 1)] for problem in problems]
    if any(place not in verdicts for group in places for place in group):
        raise ValueError(f"output: there are not {samples} samples of each problem of {about['set']}.")
    groups = [[verdicts[place] for place in group] for group in places]
    correct = [sum(verdict["correct"] is True for verdict in group) for group in groups]
    values = {f"pass@{k}": pass_at_k(correct, samples, k) for k in pass_powers(samples)}
    numbers = [list(map(_numbers, group)) for group in groups]
    for name in numbers[0][0]:
        values[name] = np.array([np.mean([each[name] for each in group]) for group in numbers])
    resampled = resample_means(np.stack(list(values.values()), axis=1), about["set"])
    means = dict(zip(values, resampled.T, strict=True))
    estimates = {name: make_estimate(values[name].mean(), means[name]) for name in values}
    return Result(about, samples, correct, estimates, means)


def _numbers(verdict: dict[str, Any]) -> dict[str, float]:
    found = {name: verdict[name] for name in ("truncated", "tokens")} | {"unjudged": verdict["correct"] is None}
    if "reward" in verdict:
        return found | {"reward": verdict["reward"] or 0.0}
    return found | {"no_answer": verdict["answer"] is None, "timeouts": verdict["timeout"]}


def average(results: Sequence[Result]) -> Estimate:
    """Mean of pass@1 over sets, every set with the same weight, whatever its size."""
    means = np.mean([result.means["pass@1"] for result in results], axis=0)
    return make_estimate(np.mean([result.estimates["pass@1"].value for result in results]), means)


def difference(ones: Sequence[Result], others: Sequence[Result]) -> Estimate | None:
    """Pass@1 of `others` less that of `ones`, paired by problem, averaged over sets; `None` if problems differ."""
    pairs = list(zip(ones, others, strict=True))
    if any(_questions(one) != _questions(other) for one, other in pairs):
        return None
    means = np.mean([other.means["pass@1"] - one.means["pass@1"] for one, other in pairs], axis=0)
    value = np.mean([other.estimates["pass@1"].value - one.estimates["pass@1"].value for one, other in pairs])
    return make_estimate(value, means)


def _questions(result: Result) -> tuple[str, int]:
    return result.about["problems"], len(result.correct)
