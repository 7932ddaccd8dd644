"""
Sequence-level rivals as group losses of REAL's own engine, for the study `choose.yaml`.

The scores are those of Eq. 5, mean log-ratios per token, so that `exp(score)` is GSPO's ratio. All see the
complete groups that REAL sees: only the loss differs.
"""

import torch

from trl_real import group_losses


AUTO_FACTOR, AUTO_STEPS = 2.5, 3  # the limit in mean absolute scores; off-policy steps that are averaged


def _advantages(labels: torch.Tensor, scaled: bool = True) -> torch.Tensor:
    """Reward minus the mean reward of the group, by default over its standard deviation; 0 without a label."""
    labelled, rewards = ~labels.isnan(), (labels == 1).float()
    count = labelled.sum(-1, keepdim=True).clamp(min=2)
    centred = (rewards - rewards.sum(-1, keepdim=True) / count) * labelled
    mixed = (labels == 1).any(-1, keepdim=True) & (labels == 0).any(-1, keepdim=True)
    deviation = (centred.square().sum(-1, keepdim=True) / (count - 1)).sqrt() + 1e-4 if scaled else (count - 1) / count
    return (centred / deviation).where(mixed, 0.0)


def rloo(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """RLOO (arXiv 2402.14740): policy gradient with the mean of the other rollouts as baseline, without clip."""
    return -(_advantages(labels, scaled=False) * scores).mean(-1)


def grpo(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Policy gradient with GRPO's advantage, without clip."""
    return -(_advantages(labels) * scores).mean(-1)


def gspo(scores: torch.Tensor, labels: torch.Tensor, low: float = 0.02, high: float = 0.027) -> torch.Tensor:
    """GSPO (arXiv 2507.18071): GRPO's advantage times the ratio, clipped; a range for completions of a few tokens."""
    advantages, ratios = _advantages(labels), scores.exp()
    return -torch.minimum(advantages * ratios, advantages * ratios.clamp(1 - low, 1 + high)).mean(-1)


def disco(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """DisCO (arXiv 2505.12366) with its ratio score and temperature 1, without its KL constraint."""
    positive, negative = labels == 1, labels == 0
    both = positive.any(-1) & negative.any(-1)
    ratios = scores.exp()
    hardest = (
        ratios.masked_fill(~negative & both[:, None], -torch.inf).logsumexp(-1) - negative.sum(-1).clamp(min=1).log()
    )
    losses = hardest - (ratios * positive).sum(-1) / positive.sum(-1).clamp(min=1)
    return losses.where(both, 0.0)


_sizes: list[float] = []  # mean absolute scores of the first off-policy steps


def real_auto_clip(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """
    REAL with a `score_clip` found in the first generation: `AUTO_FACTOR` times its mean absolute score.

    For one process that is not resumed: the limit lives in this module. The checks at the start, which have rollouts
    without labels or a single group, do not count.
    """
    mixed = (labels == 1).any(-1) & (labels == 0).any(-1)
    size = scores[mixed].abs().sum().item() / max(int(mixed.sum()) * labels.size(-1), 1)
    if size and len(labels) > 1 and len(_sizes) < AUTO_STEPS and size not in _sizes and not labels.isnan().any():
        _sizes.append(size)
    limit = AUTO_FACTOR * sum(_sizes) / AUTO_STEPS if len(_sizes) == AUTO_STEPS else None
    return group_losses(scores, labels, score_clip=limit)
