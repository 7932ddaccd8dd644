"""The update phase put together: what a trainer, or a script without one, calls."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate import Accelerator

from ..engines.backwards import one_forward_per_backward
from ..engines.checkpointing import without_checkpointing
from ..objective import Objective
from .choice import LayoutChoice
from .forwards import Forwards
from .generation import Generation, GenerationPlanner
from .layouts import MicroStepBatch
from .loss import StepLoss
from .metrics import StepMetrics
from .rollouts import Rollout, gathered, token_counts
from .settings import StepSettings


class UpdatePhase:
    """
    The update phase of a run. Raises `ValueError` if the model does not support the settings.

    Args:
        policy (`nn.Module`), reference (`nn.Module`, *optional*), accelerator ([`~accelerate.Accelerator`]):
            As for [`Forwards`].
        objective ([`Objective`]), settings ([`StepSettings`]):
            From `trl_real.objective.make_objective`, and of the run.
    """

    def __init__(
        self, policy: Any, reference: Any, accelerator: Accelerator, objective: Objective, settings: StepSettings
    ):
        self.settings, self.objective = settings, objective
        self.forwards = Forwards(policy, reference, accelerator)
        self.choice = LayoutChoice(self.forwards, settings)
        self.planner = GenerationPlanner(self.forwards, self.choice, objective, settings)
        self.loss = StepLoss(self.forwards, self.choice, objective, settings)
        self.generation: Generation | None = None
        self._training, self._evaluation = StepMetrics(), StepMetrics()

    def counts(self, rollouts: list[Rollout]) -> torch.Tensor:
        """
        Prompt tokens, completion tokens and counted tokens (P * G, 3) of all processes' rollouts.

        The first call also decides how forwards are laid out. Raises `ValueError` if a row is too long for the model's
        positions, or the model does not support the settings.
        """
        accelerator = self.forwards.accelerator
        counts = gathered(accelerator, token_counts(rollouts).to(accelerator.device))
        if limit := self.choice.position_limit:
            limit.check(int(counts[:, :2].sum(dim=1).max()))
        self.choice.try_out(rollouts)
        return counts

    def start_generation(
        self,
        rollouts: list[Rollout],
        labels: torch.Tensor,
        counts: torch.Tensor,
        policy_version: int = 0,
        first_step: int = 0,
    ) -> Generation:
        """Plan the generation of the next micro-steps; arguments as for [`GenerationPlanner.plan`]."""
        # Before checkpointing is switched off
        one_per_backward = one_forward_per_backward(self.forwards.accelerator, self.forwards.policy)
        with without_checkpointing(self.forwards.policy):
            plan = self.planner.plan(rollouts, labels, counts, policy_version, first_step, one_per_backward)
        self.generation = plan
        return plan

    def micro_step(self, step: int, index: int, policy_version: int, last: bool) -> MicroStepBatch | None:
        """
        The forwards of a micro-step on this process; `None` if no process has any and no gradient awaits reduction.

        Args:
            step (`int`), index (`int`), policy_version (`int`):
                Optimizer step of the generation, its micro-step, and optimizer steps done so far.
            last (`bool`):
                Whether it is the last micro-step before the optimizer's, in which gradients are reduced.
        """
        generation = self.generation
        if generation is None:
            raise RuntimeError("`start_generation` has to be called before `micro_step`.")
        if index == 0:
            self.loss.start_step(generation, step, policy_version == generation.policy_version, self._training)
        forwards = generation.micro_step(step, index)
        if not forwards and last:
            forwards = [[generation.filler]]
        return self.choice.collate_micro_step(forwards, generation.plans[step].one_per_backward) if forwards else None

    def attention(self, batch: MicroStepBatch) -> AbstractContextManager[None]:
        """Must contain the backward of a micro-step, which may recompute its forwards."""
        return self.forwards.attention(batch.batches[0])

    def end_step(self) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """Means and histograms of the optimizer step that ends, over all processes."""
        return self._training.flush(self.forwards.accelerator)

    def start_evaluation(self) -> None:
        """Discards what an interrupted evaluation left behind."""
        self._evaluation = StepMetrics()

    def evaluation_batch(self, rollouts: list[Rollout], labels: torch.Tensor) -> MicroStepBatch:
        """An evaluation batch in one piece: its rollouts on this process, and the labels (P, G) of all."""
        self.loss.start_evaluation_batch(labels, self._evaluation)
        micro_step = self.choice.collate_all(rollouts)
        for batch in micro_step.batches:
            self.planner.remember_reference(batch)
        return micro_step

    def end_evaluation(self) -> dict[str, float]:
        """Means over the evaluation set."""
        return self._evaluation.flush(self.forwards.accelerator)[0]
