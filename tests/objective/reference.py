"""The objective as the paper prints it, one scalar after another, and a training loop without any batch cut."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def score(logps: Iterable[float], old_logps: Iterable[float], counted: Iterable[int]) -> float:
    """Eq. 5."""
    ratios = [new - old for new, old, keep in zip(logps, old_logps, counted, strict=True) if keep]
    return sum(ratios) / len(ratios) if ratios else 0.0


def group_loss(
    scores: torch.Tensor,
    labels: Iterable[float],
    tau: float = 0.5,
    loss_type: str = "real",
    degenerate_groups: str = "drop",
    score_clip: float | None = None,
) -> torch.Tensor:
    """Eq. 6 + Eq. 7 = Eq. 8; Eq. 2 on the scores; Eq. 11 as a mean. Autograd can follow it."""
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


def group_weights(
    scores: Iterable[float],
    labels: Iterable[float],
    tau: float = 0.5,
    loss_type: str = "real",
    degenerate_groups: str = "drop",
    score_clip: float | None = None,
) -> list[float]:
    """Derivative of the loss with respect to every score in closed form: Eq. 9 for REAL, and its like."""
    limit = math.inf if score_clip is None else score_clip
    signs = [{1.0: -1, 0.0: 1}.get(label, 0) for label in labels]
    terms = [  # e^{-s/tau} of a correct rollout, e^{s/tau} of an incorrect one
        math.exp(max(sign * score, -limit) / tau) if sign else 0.0 for sign, score in zip(signs, scores, strict=True)
    ]
    moves = [sign and sign * score >= -limit for sign, score in zip(signs, scores, strict=True)]
    correct, incorrect = (sum(t for t, s in zip(terms, signs, strict=True) if s == of) for of in (-1, 1))
    if degenerate_groups == "drop" and not (correct and incorrect):
        return [0.0] * len(terms)
    sizes = {
        "real": lambda term, sign: term / (1 + (correct if sign < 0 else incorrect)),
        "real_no_anchor": lambda term, sign: term * (incorrect if sign < 0 else correct) / (1 + correct * incorrect),
        "bce": lambda term, sign: term / (1 + term) / sum(map(abs, signs)),
    }
    return [
        sign * sizes[loss_type](term, sign) / tau if moved else 0.0
        for term, sign, moved in zip(terms, signs, moves, strict=True)
    ]


def step_loss(scores: torch.Tensor, labels: torch.Tensor, loss: Callable = group_loss) -> torch.Tensor:
    """Mean over all groups (N, G); those of one class give 0 but count."""
    groups = zip(scores, labels.tolist(), strict=True)
    return sum((loss(s, y) for s, y in groups), scores.new_zeros(())) / len(scores)


def completion_logps(model: nn.Module, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Log-probabilities of the completion's tokens, one rollout at a time, without padding."""
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[range(len(completion)), completion]


def train(
    model: nn.Module,
    generations: list[list[list[dict[str, Any]]]],
    lr: float,
    epsilon: float | None,
    loss: Callable = group_loss,
) -> nn.Module:
    """
    Train on `generations[generation][step]`, a list of rollouts with `prompt`, `completion`, `label` and `group`.

    AdamW, gradients clipped to norm 1, as the trainers of the tests do; without `epsilon` SGD without clipping, which
    shows the scale of a gradient.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    if epsilon is not None:
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
            step_loss(torch.stack(scores).view(groups, -1), labels, loss).backward()
            if epsilon is not None:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model
