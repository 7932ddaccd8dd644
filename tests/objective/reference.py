"""The objective as the paper prints it, in float64 Python loops, and a training loop without any batch cut."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def score(logps: Iterable[float], old_logps: Iterable[float], counted: Iterable[int]) -> float:
    """Eq. 5."""
    ratios = [new - old for new, old, keep in zip(logps, old_logps, counted, strict=True) if keep]
    return sum(ratios) / len(ratios) if ratios else 0.0


def group_loss(
    scores: list[float],
    labels: list[float],
    tau: float,
    loss_type: str,
    degenerate_groups: str,
    score_clip: float | None = None,
) -> float:
    """Eq. 6 + Eq. 7 = Eq. 8; Eq. 2 on the scores; Eq. 11 as a mean."""
    limit = math.inf if score_clip is None else score_clip
    positives = [min(s, limit) for s, y in zip(scores, labels, strict=True) if y == 1.0]
    negatives = [max(s, -limit) for s, y in zip(scores, labels, strict=True) if y == 0.0]
    if degenerate_groups == "drop" and (not positives or not negatives):
        return 0.0
    if loss_type == "real":
        positive_part = math.log(1 + sum(math.exp(0.0) * math.exp(-s / tau) for s in positives))
        return positive_part + math.log(1 + sum(math.exp(s / tau) for s in negatives))
    if loss_type == "real_no_anchor":
        return math.log(1 + sum(math.exp((n - p) / tau) for p in positives for n in negatives))
    # -log sigma(x) = log(1 + e^-x) and -log(1 - sigma(x)) = log(1 + e^x), without the cancellation of 1 - sigma
    terms = [math.log1p(math.exp(-s / tau)) for s in positives] + [math.log1p(math.exp(s / tau)) for s in negatives]
    return sum(terms) / max(len(terms), 1)


def step_loss(scores: torch.Tensor, labels: torch.Tensor, tau: float = 0.5) -> torch.Tensor:
    """Eq. 8 for autograd, mean over all groups; groups of one class give 0 but count."""
    total = scores.sum() * 0.0
    for group_scores, group_labels in zip(scores, labels, strict=True):
        positives, negatives = group_scores[group_labels == 1], group_scores[group_labels == 0]
        if len(positives) and len(negatives):
            total = total + torch.log(1 + torch.exp(-positives / tau).sum())
            total = total + torch.log(1 + torch.exp(negatives / tau).sum())
    return total / len(scores)


def completion_logps(model: nn.Module, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Log-probabilities of the completion's tokens, one rollout at a time, without padding."""
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[range(len(completion)), completion]


def train(model: nn.Module, generations: list[list[list[dict[str, Any]]]], lr: float, epsilon: float) -> nn.Module:
    """
    Train on `generations[generation][step]`, a list of rollouts with `prompt`, `completion`, `label` and `group`.

    AdamW, gradients clipped to norm 1, as the trainers of the tests do.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, eps=epsilon, weight_decay=0.0)
    for steps in generations:
        with torch.no_grad():
            for rollout in (rollout for step in steps for rollout in step):
                rollout["old"] = completion_logps(model, rollout["prompt"], rollout["completion"])
        for step in steps:
            scores = [
                (completion_logps(model, rollout["prompt"], rollout["completion"]) - rollout["old"]).mean()
                for rollout in step
            ]
            groups = len({rollout["group"] for rollout in step})
            labels = torch.tensor([rollout["label"] for rollout in step]).view(groups, -1)
            optimizer.zero_grad(set_to_none=False)
            step_loss(torch.stack(scores).view(groups, -1), labels).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model
