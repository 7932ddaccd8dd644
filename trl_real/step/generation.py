"""One generation under way: its rollouts, labels and plans, and the weights of the current optimizer step.

In: rollouts (`rollouts.py`), labels (`objective.labels`) and plans (`plan.py`). Out: for every micro-step the rollouts
that this process runs, and for every rollout its weight ∂L/∂s and its share of the loss (`objective`).
"""

from dataclasses import dataclass, field

import torch

from .plan import StepPlan
from .rollouts import Rollout


@dataclass
class StepWeights:
    """
    The groups of one optimizer step that share a generation, and what is known of their weights.

    Args:
        labels (`torch.Tensor` of shape `(N, G)`):
            Labels of the step's groups.
        first_row (`int`):
            Row of the first rollout of the first group.
        on_policy (`bool`):
            Whether the policy is still the one that generated, so that every score is 0.
        weights, shares (`torch.Tensor` of shape `(N, G)`, *optional*):
            From [`Objective.weigh`]; `None` while the scores are not known.
    """

    labels: torch.Tensor
    first_row: int
    on_policy: bool
    weights: torch.Tensor | None = None
    shares: torch.Tensor | None = None

    def spread(self, rows: list[int | None], scores: torch.Tensor) -> torch.Tensor:
        """The scores (B,) of these rows at their place among all rollouts of the step (N, G); zero elsewhere."""
        table = scores.new_zeros(self.labels.numel())
        known = [index for index, row in enumerate(rows) if row is not None]
        table[[rows[index] - self.first_row for index in known]] = scores.detach()[known]
        return table.view(self.labels.shape)

    def pick(self, rows: list[int | None], table: torch.Tensor, filler: float) -> torch.Tensor:
        """The entries (B,) of a table (N, G) for these rows; `filler` where there is no row."""
        flat = torch.cat([table.flatten(), table.new_tensor([filler])])
        return flat[[flat.numel() - 1 if row is None else row - self.first_row for row in rows]]


@dataclass
class Generation:
    """
    Everything that the update phase of one generation needs on this process.

    Args:
        rollouts (`dict[int, Rollout]`):
            The rollouts this process runs, by row.
        filler (`Rollout`):
            A short rollout without counted tokens, for micro-steps in which only other processes have rows.
        labels (`torch.Tensor` of shape `(P, G)`):
            Labels of all rollouts of all processes.
        plans (`list[StepPlan]`):
            One per optimizer step.
        policy_version (`int`):
            Optimizer steps taken when the rollouts were generated.
        process (`int`):
            Index of this process.
        layout (`str`):
            How its forwards are laid out, in words.
        metrics (`dict[str, float]`):
            What is logged of it.
    """

    rollouts: dict[int, Rollout]
    filler: Rollout
    labels: torch.Tensor
    plans: list[StepPlan]
    policy_version: int
    process: int
    layout: str = ""
    metrics: dict[str, float] = field(default_factory=dict)

    def micro_step(self, step: int, index: int) -> list[list[Rollout]]:
        """Rollouts of this process in every forward of a micro-step; a filler where only other processes have any."""
        forwards = self.plans[step].micro_steps[index]
        return [[self.rollouts[row] for row in forward[self.process]] or [self.filler] for forward in forwards]

    def forwards(self, step: int) -> list[list[Rollout]]:
        """Rollouts of this process in every forward of an optimizer step."""
        return [
            rollouts for index in range(len(self.plans[step].micro_steps)) for rollouts in self.micro_step(step, index)
        ]

    def step_weights(self, step: int, on_policy: bool) -> StepWeights:
        """The groups of an optimizer step, weights not yet known."""
        plan = self.plans[step]
        labels = self.labels[plan.groups.start : plan.groups.stop]
        return StepWeights(labels, plan.groups.start * self.labels.size(1), on_policy)
