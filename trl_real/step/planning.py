"""Rollouts and labels -> the generation, planned: once per generation.

In: the rollouts of this process, the labels of all. Out: a [`Generation`]: the rollouts that this process runs, with
the log-probabilities that later steps compare with, and the plan of every optimizer step. Left out: what the
micro-steps do with them (`loss.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from ..objective import Objective, group_shares
from .choice import LayoutChoice
from .forwards import Forwards
from .generation import Generation
from .layouts import MicroBatch
from .mismatch import beyond, sequence_log_ratios, token_log_ratios
from .plan import Capacity, StepPlan, plan_generation
from .rollouts import Rollout, exchange, token_counts
from .settings import StepSettings
from .sharing import Sharing


@dataclass(eq=False)
class GenerationPlanner:
    """
    Plans generations.

    Args:
        forwards ([`Forwards`]), choice ([`LayoutChoice`]):
            The models, and the layout of their forwards.
        objective ([`Objective`]):
            Says which rollouts have a gradient.
        settings ([`StepSettings`]):
            Of the run.
    """

    forwards: Forwards
    choice: LayoutChoice
    objective: Objective
    settings: StepSettings

    @property
    def accelerator(self) -> Accelerator:
        """The processes."""
        return self.forwards.accelerator

    def counts(self, rollouts: list[Rollout]) -> torch.Tensor:
        """Prompt tokens, completion tokens and counted tokens (P * G, 3) of the rollouts of all processes."""
        return self.accelerator.gather(token_counts(rollouts).to(self.accelerator.device))

    def plan(
        self,
        rollouts: list[Rollout],
        labels: torch.Tensor,
        counts: torch.Tensor,
        policy_version: int,
        first_step: int,
        one_per_backward: bool,
    ) -> Generation:
        """
        The generation with its plans and the log-probabilities that its later steps compare with.

        Args:
            rollouts (`list[Rollout]`):
                Of this process.
            labels (`torch.Tensor` of shape `(P, G)`), counts (`torch.Tensor` of shape `(P * G, 3)`):
                Of all processes.
            policy_version (`int`):
                Optimizer steps taken so far.
            first_step (`int`):
                The optimizer step of the generation that comes next; not 0 where a run is resumed.
            one_per_backward (`bool`):
                Whether every forward needs a backward of its own.
        """
        capacity = self._capacity(rollouts, counts, one_per_backward)
        filler = min(rollouts, key=lambda rollout: rollout.length).filler()

        def share_out(rollouts: list[Rollout], labels: torch.Tensor) -> Generation:
            plans = self._plans(self._keep(labels, counts), capacity, first_step)
            process, processes = self.accelerator.process_index, self.accelerator.num_processes
            wanted = [[row for plan in plans for row in plan.rows(other)] for other in range(processes)]
            mine = exchange(rollouts, wanted, process, self.accelerator.device)
            return Generation(mine, filler, labels, plans, policy_version, process)

        generation, dropped = share_out(rollouts, labels), {}
        if self.settings.mismatch_limit is not None:
            kept, dropped = self._drop_mismatched(generation, first_step)
            if not torch.equal(kept.isnan(), labels.isnan()):
                generation = share_out(list(generation.rollouts.values()), kept)
        self._remember_logps(generation, first_step)
        generation.layout = self.choice.describe(capacity.sharing)
        generation.metrics = self.label_metrics(generation.labels) | dropped | self._trained(generation, counts)
        return generation

    def label_metrics(self, labels: torch.Tensor) -> dict[str, float]:
        """Shares of the kinds of groups."""
        return {f"groups/{name}": share for name, share in group_shares(labels).items()}

    def _trained(self, generation: Generation, counts: torch.Tensor) -> dict[str, float]:
        """Shares of the rollouts and of their tokens that are run."""
        keep, tokens = self._keep(generation.labels, counts), counts[:, -1].float()
        return {
            "trained/rollouts": keep.float().mean().item(),
            "trained/tokens": ((tokens * keep).sum() / tokens.sum().clamp(min=1)).item(),
        }

    def _keep(self, labels: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Which rollouts (P * G,) are run."""
        every = self.settings.trains_every_rollout
        return counts[:, -1] > 0 if every else self.objective.informative(labels).flatten()

    def _capacity(self, rollouts: list[Rollout], counts: torch.Tensor, one_per_backward: bool) -> Capacity:
        """What a micro-step holds, and how its forwards are laid out; the same on every process."""
        packed, limit = self.choice.packs_all(rollouts), self.choice.position_limit
        prompts, completions, _ = counts.T.tolist()
        return Capacity(
            self.accelerator.num_processes,
            self.settings.rows_per_process,
            prompts,
            completions,
            packed,
            limit.length if limit else None,
            self._sharing(rollouts, counts) if packed else None,
            one_per_backward,
        )

    def _sharing(self, rollouts: list[Rollout], counts: torch.Tensor) -> Sharing | None:
        """Which rows of all processes have one prompt, where prompts are shared."""
        if not self.choice.shared:
            return None
        keys = self.accelerator.gather(
            torch.tensor([rollout.prompt_key for rollout in rollouts], device=counts.device)
        ).tolist()
        return self.choice.among(keys, counts[:, 0].tolist(), counts[:, :2].sum(dim=1).tolist())

    def _plans(self, keep: torch.Tensor, capacity: Capacity, first_step: int) -> list[StepPlan]:
        """One for every optimizer step, the same on every process; rows that are not kept run nowhere."""
        settings = self.settings
        on_policy_step = first_step if settings.num_iterations == 1 else None
        sizes = (settings.num_generations, settings.steps_per_generation, settings.micro_steps)
        return plan_generation(capacity, keep.tolist(), *sizes, on_policy_step)

    def _drop_mismatched(self, generation: Generation, first_step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """
        The labels (P, G) without those of rollouts that sampler and trainer disagree on, and how many were dropped.

        Runs every rollout of the plan under the policy as it is, which stores its old log-probabilities. Rollouts that
        are not in the plan have no gradient, with or without a label, so they are not compared.

        Raises:
            `ValueError`: If the rollouts came without the sampler's log-probabilities.
        """
        labels = generation.labels
        if generation.filler.sampling_per_token_logps is None:
            raise ValueError(
                "`mismatch_limit`: the rollouts came without log-probabilities of the engine that sampled them. "
                "Return `logprobs` from `rollout_func`, take use_vllm=True, or leave `mismatch_limit` out."
            )
        ratios = torch.zeros(labels.numel(), device=labels.device)
        for _, rollouts in self._forwards_of(generation, first_step):
            batch = self.choice.collate(rollouts)
            batch.store("old_per_token_logps", logps := self.forwards.policy_logps(batch))
            log_ratios = sequence_log_ratios(
                *token_log_ratios(logps, batch.padded("sampling_per_token_logps"), batch.mask)
            )
            for row, ratio in zip(batch.rows, log_ratios, strict=True):
                if row is not None:
                    ratios[row] = ratio
        ratios = self.accelerator.reduce(ratios, reduction="sum")
        dropped = beyond(ratios, self.settings.mismatch_limit).view(labels.shape) & ~labels.isnan()
        compared = max(sum(plan.trained for plan in generation.plans), 1)
        return labels.masked_fill(dropped, torch.nan), {"mismatch/dropped": dropped.sum().item() / compared}

    def _remember_logps(self, generation: Generation, first_step: int) -> None:
        """Old log-probabilities for the steps that will be off policy, reference ones for all."""
        known = self.settings.mismatch_limit is not None
        for step, rollouts in self._forwards_of(generation, first_step):
            batch = self.choice.collate(rollouts)
            if step != first_step and not known:
                batch.store("old_per_token_logps", self.forwards.policy_logps(batch))
            self.remember_reference(batch)

    def _forwards_of(self, generation: Generation, first_step: int) -> Iterator[tuple[int, list[Rollout]]]:
        """Every forward of a generation with its optimizer step; none of a step that a resumed run is past."""
        start = first_step if self.settings.num_iterations == 1 else 0
        for step in range(start, len(generation.plans)):
            for rollouts in generation.forwards(step):
                yield step, rollouts

    def remember_reference(self, batch: MicroBatch) -> None:
        """Log-probabilities under the reference model, if the loss compares with it."""
        if self.settings.regularizers.reads_reference:
            batch.store("ref_per_token_logps", self.forwards.reference_logps(batch))
