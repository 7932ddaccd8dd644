"""What is logged of the distance between sampler and trainer: ratios of a micro-step -> sums for `step.py`."""

import torch


# mean -> (sum, count), and maximum -> (value, count), as in `step.py`
MEANS = {
    "mismatch/token_mean": ("mismatch", "mismatch_tokens"),
    "mismatch/sequence_mean": ("mismatch_ratio", "mismatch_rollouts"),
}
MAXIMA = {
    "mismatch/token_worst": ("mismatch_token_max", "mismatch_tokens"),
    "mismatch/sequence_worst": ("mismatch_ratio_max", "mismatch_rollouts"),
}


def mismatch_sums(ratios: torch.Tensor, known: torch.Tensor, sequences: torch.Tensor) -> dict[str, torch.Tensor]:
    """
    Sums and maxima of a micro-step, without waiting for the device.

    Args:
        ratios (`torch.Tensor` of shape `(B, C)`):
            Log-ratio of every token, 0 where it is not known.
        known (`torch.Tensor` of shape `(B, C)`):
            Where it is.
        sequences (`torch.Tensor` of shape `(B,)`):
            Mean log-ratio of every rollout.
    """
    counted = known.any(dim=1)
    return {
        "mismatch": ratios.sum(),
        "mismatch_tokens": known.sum(),
        "mismatch_token_max": ratios.abs().max(),
        "mismatch_ratio": (sequences.exp() * counted).sum(),
        "mismatch_ratio_max": sequences.abs().max().exp(),
        "mismatch_rollouts": counted.sum(),
    }
