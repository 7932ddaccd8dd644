"""The objective as the paper prints it, one scalar after another, and custom losses of the tests."""

from collections.abc import Callable, Iterable
from typing import Any

import torch


def group_loss(
    scores: torch.Tensor,
    labels: Iterable[float],
    tau: float = 0.5,
    loss_type: str = "real",
    degenerate_groups: str = "drop",
    score_clip: float | None = None,
) -> torch.Tensor:
    """Eq. 6 + Eq. 7 = Eq. 8; Eq. 2 on the scores; Eq. 11 as a mean; or a custom loss. Autograd can follow it."""
    if loss_type in CUSTOM:
        return CUSTOM[loss_type](scores, labels)
    limit = torch.inf if score_clip is None else score_clip
    positives = [s.clamp(max=limit) for s, y in zip(scores, labels, strict=True) if y == 1.0]
    negatives = [s.clamp(min=-limit) for s, y in zip(scores, labels, strict=True) if y == 0.0]
    nothing = 0.0 * scores.sum()  # part of the graph, for a step in which no group has a loss
    if degenerate_groups == "drop" and (not positives or not negatives):
        return nothing
    if loss_type == "real":
        positive_part = torch.log(1 + sum((torch.exp(-s / tau) for s in positives), nothing))
        return positive_part + torch.log(1 + sum((torch.exp(s / tau) for s in negatives), nothing))
    if loss_type == "real_no_anchor":
        return torch.log(1 + sum((torch.exp((n - p) / tau) for p in positives for n in negatives), nothing))
    # -log sigma(x) = log(1 + e^-x) and -log(1 - sigma(x)) = log(1 + e^x), without the cancellation of 1 - sigma
    terms = [torch.log1p(torch.exp(-s / tau)) for s in positives] + [
        torch.log1p(torch.exp(s / tau)) for s in negatives
    ]
    return sum(terms, nothing) / max(len(terms), 1)


def group_weights(scores: list[float], labels: list[float], **options: Any) -> list[float]:
    """Derivative of the loss with respect to every score."""
    leaves = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(group_loss(leaves, labels, **options), leaves)[0].tolist()


def all_pairs(scores: torch.Tensor, labels: list[float]) -> torch.Tensor:
    """-log σ(correct - incorrect), a mean over the pairs."""
    correct, incorrect = ([s for s, y in zip(scores, labels, strict=True) if y == kind] for kind in (1.0, 0.0))
    terms = [torch.log(1 + torch.exp(low - high)) for high in correct for low in incorrect]
    return sum(terms, 0.0 * scores.sum()) / max(len(terms), 1)


def smoothed(scores: torch.Tensor, labels: list[float]) -> torch.Tensor:
    """A tenth of the loss has every label exchanged."""
    return 0.9 * group_loss(scores, labels) + 0.1 * group_loss(scores, [1 - label for label in labels])


def every_class(scores: torch.Tensor, labels: list[float]) -> torch.Tensor:
    """Trains groups of one class too."""
    signs = [{1.0: -1.0, 0.0: 1.0}.get(label, 0.0) for label in labels]
    contrast = sum(sign * score for sign, score in zip(signs, scores, strict=True))
    return torch.log(1 + torch.exp(contrast)) if any(signs) else 0.0 * scores.sum()


CUSTOM: dict[str, Callable] = {
    "docs.examples.own_objective:all_pairs": all_pairs,
    "docs.examples.own_objective:smoothed": smoothed,
    "tests.objective.test_own:every_class": every_class,
}
