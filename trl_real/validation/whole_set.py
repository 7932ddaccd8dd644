"""
Exact validation: every prompt of a set counts once with all its samples, whatever the batches and processes.

A last batch that the processes cannot share evenly is filled up with prompts from the start of the set, which are
sampled but excluded from every metric.

Legend: P prompts, k samples of each, N rows of a batch over all processes, F reward functions.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from trl import GRPOConfig

from ..compat import nanstd
from ..objective.labels import group_shares


def deal_batches(prompts: int, samples: int, largest: int, processes: int) -> list[list[int]]:
    """
    The batches of a set, with the index of a prompt for each row: at most `largest` rows each, `samples` a prompt.

    The processes always have equally many rows, and together complete groups; process p has the batches p,
    p + processes, ... Prompts after the first P, in this order, only fill up the last batch.
    """
    if prompts == 0:
        raise ValueError("`eval_dataset` is empty: give it at least one prompt, or set eval_strategy='no'.")
    unit = processes // math.gcd(samples, processes)  # fewest prompts with rollouts for all processes alike
    at_once = largest * processes // (samples * unit) * unit
    if at_once == 0:
        raise ValueError(
            f"`per_device_eval_batch_size` is {largest}: {processes} process(es) cannot hold complete groups of "
            f"num_generations_eval={samples} rollouts. Write per_device_eval_batch_size={samples * unit // processes} "
            "or more."
        )
    filled = -(-prompts // unit) * unit
    batches = []
    for first in range(0, filled, at_once):
        rows = [number % prompts for number in range(first, min(first + at_once, filled)) for _ in range(samples)]
        size = len(rows) // processes
        batches += [rows[start : start + size] for start in range(0, len(rows), size)]
    return batches


class StreamRows:
    """The rows of a stream, read once. Each access returns a copy, as a data set does, since TRL writes into rows."""

    def __init__(self, stream: Iterable[dict[str, Any]]):
        self._rows = list(stream)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return copy.deepcopy(self._rows[index])


@dataclass
class Validation:
    """The results so far of one evaluation of one set, the same on every process."""

    prompts: int  # of the set, each of which counts once
    samples: int  # of each prompt
    batches: list[dict[str, torch.Tensor]] = field(default_factory=list)

    @property
    def prompts_in_batch(self) -> int:
        """Prompts of the latest batch that count."""
        return len(self.batches[-1]["label"]) // self.samples

    def add(self, **columns: torch.Tensor) -> None:
        """Adds a batch of N rows of all processes: `rewards` (N, F), `label`, `length` and `truncated` (N,)."""
        done = sum(len(batch["label"]) for batch in self.batches)
        self.batches.append({name: rows[: self.prompts * self.samples - done] for name, rows in columns.items()})

    def batch_means(self, metrics: dict[str, list[float]]) -> dict[str, float]:
        """Means over prompts of metrics that have one value per batch; NaN is in no mean."""
        counts = [len(batch["label"]) // self.samples for batch in self.batches]
        means = {}
        for name, values in metrics.items():
            weights = counts if len(values) == len(counts) else [1] * len(values)  # not logged in every batch
            known = [(value, weight) for value, weight in zip(values, weights, strict=True) if not math.isnan(value)]
            total = sum(weight for _, weight in known)
            means[name] = sum(value * weight for value, weight in known) / total if total else math.nan
        return means

    def metrics(self, names: list[str], weights: torch.Tensor) -> dict[str, float]:
        """
        Metrics of the complete set: avg@k, pass@k, shares of the kinds of groups and, under TRL's names, rewards and
        lengths; NaN if nothing was scored. `names` and `weights` (F,) are those of the reward functions.
        """
        table = {name: torch.cat([batch[name] for batch in self.batches]) for name in self.batches[0]}
        return (
            accuracy(table["label"].view(-1, self.samples))
            | {f"groups/{name}": share for name, share in group_shares(table["label"].view(-1, self.samples)).items()}
            | reward_metrics(table["rewards"], names, weights, self.samples)
            | length_metrics(table["length"].float(), table["truncated"].bool())
        )


def accuracy(labels: torch.Tensor) -> dict[str, float]:
    """
    avg@k, the share of correct rollouts, and pass@k, the share of prompts with a correct one, from labels (P, k).

    A rollout without a label is not correct: otherwise an answer that cannot be scored would raise the accuracy.
    """
    correct, samples = (labels == 1).float(), labels.size(1)
    return {f"avg@{samples}": correct.mean().item(), f"pass@{samples}": correct.amax(dim=1).mean().item()}


def reward_metrics(
    rewards_per_func: torch.Tensor, names: list[str], weights: torch.Tensor, samples: int
) -> dict[str, float]:
    """TRL's metrics of rewards (N, F); a rollout without any reward is in none of them."""
    unscored = rewards_per_func.isnan().all(dim=1)
    rewards = (rewards_per_func * weights).nansum(dim=1).masked_fill(unscored, torch.nan)
    groups = rewards.view(-1, samples)
    spread = nanstd(groups, dim=1) if samples > 1 else torch.zeros(len(groups))
    metrics = {
        "reward": rewards.nanmean(),
        "reward_stderr": standard_error(rewards),
        "reward_std": nanstd(rewards),
        "frac_reward_zero_std": torch.isclose(spread, torch.zeros_like(spread)).float().mean(),
    }
    for name, column in zip(names, rewards_per_func.T, strict=True):
        metrics |= {f"rewards/{name}/mean": column.nanmean(), f"rewards/{name}/std": nanstd(column)}
    return {name: value.item() for name, value in metrics.items()}


def standard_error(rewards: torch.Tensor) -> torch.Tensor:
    """
    Standard error of the mean of rewards (N,) in [0, 1] over samples for these prompts; NaN for other rewards.

    It is an upper bound: the variance of a reward in [0, 1] with mean p is at most p(1 - p).
    """
    known = rewards[~rewards.isnan()]
    if known.numel() == 0 or known.min() < 0 or known.max() > 1:
        return known.new_tensor(torch.nan)
    mean = known.mean()
    return (mean * (1 - mean) / known.numel()).sqrt()


def length_metrics(lengths: torch.Tensor, truncated: torch.Tensor) -> dict[str, float]:
    """TRL's metrics of completion lengths (N,), of all completions and of those that are not truncated."""
    ended = lengths[~truncated] if not truncated.all() else torch.zeros(1)
    metrics = {"completions/clipped_ratio": truncated.float().mean().item()}
    for name, values in (("length", lengths), ("terminated_length", ended)):
        for kind in ("mean", "min", "max"):
            metrics[f"completions/{kind}_{name}"] = getattr(values, kind)().item()
    return metrics


def check_best_metric(args: GRPOConfig, sets: Iterable[str] = ()) -> None:
    """
    Raises `ValueError` for a `metric_for_best_model` that evaluation of these sets surely will not log; a single set
    has no name.
    """
    if args.metric_for_best_model is None or args.eval_strategy == "no":
        return
    wanted, samples = _full_name(args.metric_for_best_model), args.num_generations_eval or args.num_generations
    prefixes = [f"eval_{name}_" for name in sets] or ["eval_"]
    known = [f"{prefix}{name}" for prefix in prefixes for name in (f"avg@{samples}", f"pass@{samples}", "reward")]
    if not wanted.startswith(tuple(prefixes)) or ("@" in wanted and wanted not in known):
        raise ValueError(_unknown_metric(args.metric_for_best_model, [*known, *(f"{each}..." for each in prefixes)]))


def check_best_metric_logged(wanted: str | None, logged: Iterable[str]) -> None:
    """Raises `ValueError` for a `metric_for_best_model` that the latest evaluation has not logged."""
    if wanted is not None and _full_name(wanted) not in logged:
        raise ValueError(_unknown_metric(wanted, sorted(logged)))


def _full_name(metric: str) -> str:
    return metric if metric.startswith("eval_") else f"eval_{metric}"


def _unknown_metric(wanted: str, known: Iterable[str]) -> str:
    return f"`metric_for_best_model` is {wanted!r}, which evaluation does not log. Write one of {', '.join(known)}."
