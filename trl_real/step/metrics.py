"""What is logged about an optimizer step: sums over its rollouts on this process -> means over all processes.

Sums stay on the device and cross processes once per optimizer step. Like the gradient, metrics do not depend on the
batching. Legend: B rollouts, C completion tokens.
"""

import math
from typing import Any

import torch
from accelerate import Accelerator

from ..metrics.histograms import HISTOGRAMS, count_bins
from .rollouts import gathered


# mean -> (sum, count) of the accumulated quantities
MEANS = {
    "entropy": ("entropy", "tokens"),
    "kl": ("kl", "tokens"),
    "kl_old": ("kl_old", "tokens"),
    "scores/abs_mean": ("abs_scores", "labelled"),
    "scores/positive_mean": ("positive_scores", "positives"),
    "scores/negative_mean": ("negative_scores", "negatives"),
    "weights/mean": ("weights", "labelled"),
    "aux_loss": ("aux_loss", "rollouts"),
    "mismatch/token_mean": ("mismatch", "mismatch_tokens"),
    "mismatch/sequence_mean": ("mismatch_ratio", "mismatch_rollouts"),
}
MAXIMA = {  # maximum -> (value, count)
    "weights/max": ("weights_max", "labelled"),
    "mismatch/token_max": ("mismatch_token_max", "mismatch_tokens"),
    "mismatch/sequence_max": ("mismatch_ratio_max", "mismatch_rollouts"),
}
_LARGEST = {value for value, _ in MAXIMA.values()}
LOSSES = ("loss", "policy_loss")  # shares of a mean already


class StepMetrics:
    """Running sums of one optimizer step (or one evaluation set)."""

    def __init__(self):
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, **sums: torch.Tensor) -> None:
        """Add to the running sums; the same names in every micro-step of a run. Those in `MAXIMA` are maxima."""
        for name, value in sums.items():
            value = value.detach().float()
            if name not in self._sums:
                self._sums[name] = value
            elif name in _LARGEST:
                self._sums[name] = torch.maximum(self._sums[name], value)
            else:
                self._sums[name] = self._sums[name] + value

    def flush(self, accelerator: Accelerator) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """Means and histograms over all processes, with one collective; starts the next step at zero."""
        names = sorted(set(self._sums).difference(HISTOGRAMS))
        parts = [self._sums[name].reshape(-1) for name in (*names, *HISTOGRAMS)]
        table = gathered(accelerator, torch.cat(parts)[None]).cpu()  # (processes, numbers)
        scalars, *counts = table.split([len(names), *(part.numel() for part in parts[len(names) :])], dim=1)
        histograms = {name: count.sum(dim=0) for name, count in zip(HISTOGRAMS, counts, strict=True)}
        totals = dict(zip(names, scalars.sum(dim=0).tolist(), strict=True))
        maxima = dict(zip(names, scalars.amax(dim=0).tolist(), strict=True))
        self._sums = {}
        metrics = {
            name: totals[total] / totals[count]
            for name, (total, count) in MEANS.items()
            if total in totals and totals[count] > 0
        }
        metrics |= {
            name: maxima[value] for name, (value, count) in MAXIMA.items() if value in maxima and totals[count] > 0
        }
        return metrics | {name: totals[name] for name in LOSSES}, histograms


def score_sums(scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, tau: float) -> dict[str, Any]:
    """Sums over (B,) scores, labels (NaN counts nowhere) and weights, without waiting for the device."""
    positive, negative = labels == 1, labels == 0
    size = weights.abs()
    return {
        "abs_scores": scores.abs().where(positive | negative, 0.0).sum(),
        "positive_scores": scores.where(positive, 0.0).sum(),
        "positives": positive.sum(),
        "negative_scores": scores.where(negative, 0.0).sum(),
        "negatives": negative.sum(),
        "weights": size.sum(),
        "weights_max": size.max(),
        "labelled": (positive | negative).sum(),
        **count_bins(scores, labels, weights, tau),
    }


# ---- how far the engine that sampled is from the model in training --------------------------------------------------


def token_log_ratios(
    logps: torch.Tensor, sampling_logps: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Log of the trainer's probability over the sampler's (B, C), 0 where unknown; and where it is known: if the mask
    is 1 and the sampler's log-probability is not NaN.
    """
    known = (mask != 0) & ~sampling_logps.isnan()
    return (logps - sampling_logps).masked_fill(~known, 0.0), known


def sequence_log_ratios(ratios: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Log (B,) of the geometric mean of each rollout's ratios; 0 if none is known."""
    return ratios.sum(dim=1) / known.sum(dim=1).clamp(min=1)


def beyond(log_ratios: torch.Tensor, limit: float) -> torch.Tensor:
    """Which ratios are above the limit or below 1/limit."""
    return ~(log_ratios.abs() <= math.log(limit))


def mismatch_sums(ratios: torch.Tensor, known: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sums and maxima over token log-ratios (B, C), without waiting for the device."""
    sequences, counted = sequence_log_ratios(ratios, known), known.any(dim=1)
    return {
        "mismatch": ratios.sum(),
        "mismatch_tokens": known.sum(),
        "mismatch_token_max": ratios.abs().max(),
        "mismatch_ratio": (sequences.exp() * counted).sum(),
        "mismatch_ratio_max": sequences.abs().max().exp(),
        "mismatch_rollouts": counted.sum(),
    }
