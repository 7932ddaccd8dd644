"""The objective of a run: a group loss with its options, as weights and loss shares of single rollouts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from .losses import LOSSES, group_losses, losses_and_weights
from .own import GroupFunction, load_function, trained_groups


@dataclass(frozen=True)
class Objective:
    """A group loss, and which groups it trains."""

    tau: float  # temperature τ; the weights of the built-in losses are bounded by 1/τ
    group_loss: GroupFunction  # scores and labels (N, G) -> losses (N,)
    trains: Callable[[torch.Tensor], torch.Tensor]  # labels (N, G) -> whether a group has a gradient (N,)

    def informative(self, labels: torch.Tensor) -> torch.Tensor:
        """Which rollouts (N, G) have a gradient from the objective: the labelled ones of trained groups."""
        return self.trains(labels)[:, None] & ~labels.isnan()

    def weigh(self, scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Weights ∂L/∂s (N, G) of the rollouts, and shares (N, G) that add up to the loss of the group, from scores and
        labels (N, G); both are 0 for a rollout without a label and in a group that is not trained.
        """
        informative = self.informative(labels)
        losses, weights = losses_and_weights(self.group_loss, scores.masked_fill(~informative, 0.0), labels)
        shares = losses / informative.sum(dim=1).clamp(min=1)
        return weights.masked_fill(~informative, 0.0), shares[:, None] * informative


def make_objective(
    tau: float, loss_type: str | GroupFunction, degenerate_groups: str, score_clip: float | None
) -> Objective:
    """The objective of these options; `loss_type` is the name of a built-in loss, a custom function, or its path."""
    if not isinstance(loss_type, str) or loss_type not in LOSSES:
        own = load_function("loss_type", loss_type)
        return Objective(tau, lambda scores, labels: own(scores, labels.clone()), partial(trained_groups, own))
    options = (tau, loss_type, degenerate_groups, score_clip)

    def trains(labels: torch.Tensor) -> torch.Tensor:
        positive, negative = (labels == 1).any(-1), (labels == 0).any(-1)
        keeps = degenerate_groups == "keep" and loss_type != "real_no_anchor"  # whose pairs need both classes
        return positive | negative if keeps else positive & negative

    return Objective(tau, lambda scores, labels: group_losses(scores, labels, *options), trains)
