"""Three objectives of docs/guides/own-objective.md: two losses of a group, and labels by rank."""

import torch
from torch.nn.functional import softplus

from trl_real import group_losses


def all_pairs(scores, labels):
    """Logistic loss on every pair of a correct and an incorrect rollout, a mean over the pairs of a group."""
    pairs = (labels == 1)[:, :, None] & (labels == 0)[:, None, :]
    losses = softplus(scores[:, None, :] - scores[:, :, None])
    return (losses * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def smoothed(scores, labels, smoothing=0.1):
    """REAL with label smoothing: a small part of the loss has correct and incorrect exchanged."""
    return (1 - smoothing) * group_losses(scores, labels) + smoothing * group_losses(scores, 1 - labels)


def quarters(rewards):
    """The best quarter of a group is correct, its worst quarter incorrect, ties with them included."""
    count = max(rewards.size(1) // 4, 1)
    best = rewards.nan_to_num(nan=-torch.inf).topk(count).values[:, -1:]
    worst = rewards.nan_to_num(nan=torch.inf).topk(count, largest=False).values[:, -1:]
    labels = torch.where(rewards >= best, 1.0, torch.where(rewards <= worst, 0.0, torch.nan))
    return labels.where(best > worst, torch.nan)
