"""The record of one run: what it reached on held-out prompts, what it cost, and the curves of its log."""

import math
import time
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOTrainer

from ..data.loading import hold_out
from .records import Record


POINTS = 30  # of a curve, so that the records of a whole comparison stay small
# What is kept of the trainer's log
CURVES = {
    "reward": "reward",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "clip": "clip_ratio/region_mean",
    "abs_score": "scores/abs_mean",
    "positive_score": "scores/positive_mean",
    "negative_score": "scores/negative_mean",
    "kl_old": "kl_old",
    "kl": "kl",
    "mixed": "groups/mixed",
    "one_class": "frac_reward_zero_std",
}


def split_held_out(rows: Any, validation_prompts: int | None) -> dict[str, Dataset]:
    """
    The held-out set in two parts, by prompt and always alike: `validation` chooses the learning rate and has half
    of the prompts by default, and `reported` is reported.
    """
    if not isinstance(rows, Dataset):
        raise ValueError("dataset_streaming: a comparison splits the held-out set. Write dataset_streaming: false.")
    different = len({repr(prompt) for prompt in rows["prompt"]})
    number = validation_prompts or different // 2
    if not 0 < number < different:
        raise ValueError(
            f"validation_prompts: {number} of {different} held-out prompts leaves one part empty. Write a number "
            f"below {different}, or hold out more prompts (test_size)."
        )
    reported, validation = hold_out(rows, number, split_seed=0)
    return {"validation": validation, "reported": reported}


def check_metric(metric: str, reward_names: list[str]) -> None:
    """Finds a metric that evaluation does not log for every method."""
    known = ["reward", *(f"rewards/{name}/mean" for name in reward_names)]
    if metric not in known:
        raise ValueError(f"metric: {metric} is not logged for every method. Write one of {', '.join(known)}.")


class Clock(TrainerCallback):
    """Wall and CPU seconds of this process in optimizer steps and the sampling before them, without evaluation."""

    def __init__(self):
        self.seconds = {0: (0.0, 0.0)}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.start = time.perf_counter(), time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        wall, cpu = self.seconds[max(self.seconds)]
        now = time.perf_counter(), time.process_time()
        self.seconds[state.global_step] = (wall + now[0] - self.start[0], cpu + now[1] - self.start[1])


def curves(log: list[dict[str, Any]], steps: int) -> dict[str, list[float | None]]:
    """The trainer's log as means over at most `POINTS` stretches of steps; `None` where nothing was logged."""
    stretches = min(POINTS, steps)
    found: dict[str, list[float | None]] = {}
    for name, key in CURVES.items():
        values: list[list[float]] = [[] for _ in range(stretches)]
        for record in log:
            if record.get(key) is not None and "step" in record:
                values[(record["step"] - 1) * stretches // steps].append(record[key])
        if any(values):
            found[name] = [float(f"{sum(each) / len(each):.4g}") if each else None for each in values]
    return found


def count_samples(log: list[dict[str, Any]], args: Any, until: float = math.inf) -> dict[str, int]:
    """Rollouts and completion tokens sampled until a step, and completion tokens that went through a backward."""
    generations = [record for record in log if "completions/mean_length" in record and record["step"] <= until]
    sampled = [record["completions/mean_length"] * args.generation_batch_size for record in generations]
    shares = [record.get("trained/tokens", 1.0) for record in generations]
    trained = sum(tokens * share for tokens, share in zip(sampled, shares, strict=True)) * args.num_iterations
    rollouts = len(generations) * args.generation_batch_size
    return dict(rollouts=rollouts, sampled_tokens=round(sum(sampled)), trained_tokens=round(trained))


def measure(trainer: GRPOTrainer, clock: Clock, metric: str) -> Record:
    """The record of a finished training, whose evaluation sets are those of [`split_held_out`]."""
    args, steps = trainer.args, trainer.state.global_step
    log: list[dict[str, Any]] = trainer.state.log_history
    points: dict[str, dict[int, float]] = {
        name: {record["step"]: record[key] for record in log if record.get(key) is not None}
        for name, key in (
            ("validation", f"eval_validation_{metric}"),
            ("test", f"eval_reported_{metric}"),
            ("entropy", "eval_reported_entropy"),
        )
    }
    if steps not in points["validation"] or steps not in points["test"]:
        raise ValueError(f"metric: {metric} has no value at the end, since no held-out completion has a reward.")
    norms = [record["grad_norm"] for record in log if "grad_norm" in record]
    seconds, cpu_seconds = clock.seconds[steps]
    numbers = {name: values[steps] for name, values in points.items() if steps in values}
    numbers |= dict(seconds=seconds, cpu_seconds=cpu_seconds)
    if args.max_grad_norm and norms:
        numbers["clipped_steps"] = sum(norm > args.max_grad_norm for norm in norms) / len(norms)
    seen = sorted(points["test"])
    probe = {
        "step": seen,
        "pass": [round(points["test"][step], 4) for step in seen],
        "entropy": [round(points["entropy"][step], 4) for step in seen if step in points["entropy"]],
        "cpu": [round(clock.seconds[step][1], 4) for step in seen],
        "tokens": [count_samples(log, args, step)["sampled_tokens"] for step in seen],
    }
    rounded = {name: round(value, 4) for name, value in numbers.items()}
    return rounded | count_samples(log, args) | dict(probe=probe, curve=curves(log, steps))
