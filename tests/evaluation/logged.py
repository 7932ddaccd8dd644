"""What the tests read from the logs of an evaluation."""

from pathlib import Path

from inspect_ai.log import EvalSample, read_eval_log

from trl_real.evaluation.results import about_of, find_logs


def samples_by_model(output: Path) -> dict[str, list[EvalSample]]:
    """Of each model the samples in its newest logs, by problem and number."""
    found: dict[str, list[EvalSample]] = {}
    for log in find_logs(output):
        samples = read_eval_log(log.location).samples
        found.setdefault(about_of(log)["model"], []).extend(sorted(samples, key=lambda each: (each.id, each.epoch)))
    return found


def texts(samples: list[EvalSample]) -> list[tuple[int, int, str, int]]:
    """Problem, number, text and length of each."""
    return [(each.id, each.epoch, each.output.completion, each.output.usage.output_tokens) for each in samples]
