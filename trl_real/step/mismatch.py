"""How far the engine that sampled is from the model in training: log-probabilities of both -> their ratio.

In: log-probabilities of the same tokens, from the policy that generated as the trainer computes it, and as the sampler
gave them. Out: the ratio of every rollout, and which leave a band around 1. Left out: what is logged of it
(`metrics.py`), and what becomes of their labels (`planning.py`).

Legend: B rollouts, C completion tokens.
"""

import math

import torch


def token_log_ratios(
    logps: torch.Tensor, sampling_logps: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Log of the probability under the trainer over that under the sampler, and for which tokens it is known.

    Args:
        logps, sampling_logps (`torch.Tensor` of shape `(B, C)`):
            Of the trainer, and of the sampler; NaN where it gave none.
        mask (`torch.Tensor` of shape `(B, C)`):
            1 where a token counts.

    Returns:
        `tuple` of `torch.Tensor` of shape `(B, C)`: the log-ratios, 0 where not known, and a boolean mask.
    """
    known = (mask != 0) & ~sampling_logps.isnan()
    return (logps - sampling_logps).masked_fill(~known, 0.0), known


def sequence_log_ratios(ratios: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Log (B,) of the geometric mean of a rollout's ratios; 0 for one of which no token is known."""
    return ratios.sum(dim=1) / known.sum(dim=1).clamp(min=1)


def beyond(log_ratios: torch.Tensor, limit: float) -> torch.Tensor:
    """Which ratios are above the limit or below 1/limit."""
    return ~(log_ratios.abs() <= math.log(limit))
