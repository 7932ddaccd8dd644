"""Rollouts and labels -> a planned generation, once per generation; then its rollouts and weights, step by step.

Legend: P prompts (groups), G rollouts per group, B rollouts of a micro-step, N groups of an optimizer step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from ..objective import Objective, group_shares
from .choice import LayoutChoice
from .forwards import Forwards
from .layouts import MicroBatch
from .metrics import beyond, sequence_log_ratios, token_log_ratios
from .plan import Capacity, StepPlan, plan_generation
from .rollouts import Rollout, exchange, gathered, summed
from .settings import StepSettings


@dataclass
class StepWeights:
    """The groups of one optimizer step and their weights."""

    labels: torch.Tensor  # (N, G)
    first_row: int  # row of the first rollout of the first group
    on_policy: bool  # the policy is still the one that generated, so that every score is 0
    weights: torch.Tensor | None = None  # (N, G), from `Objective.weigh`; `None` while the scores are not known
    shares: torch.Tensor | None = None  # (N, G), of the loss

    def spread(self, rows: list[int | None], scores: torch.Tensor) -> torch.Tensor:
        """The scores (B,) of these rows at their places among all rollouts of the step (N, G); zero elsewhere."""
        table = scores.new_zeros(self.labels.numel())
        places = {row - self.first_row: index for index, row in enumerate(rows) if row is not None}
        table[list(places)] = scores.detach()[list(places.values())]
        return table.view(self.labels.shape)

    def pick(self, rows: list[int | None], table: torch.Tensor, filler: float) -> torch.Tensor:
        """The entries (B,) of a table (N, G) for these rows; `filler` for no row."""
        flat = torch.cat([table.flatten(), table.new_tensor([filler])])
        return flat[[flat.numel() - 1 if row is None else row - self.first_row for row in rows]]


@dataclass
class Generation:
    """A planned generation on this process."""

    rollouts: dict[int, Rollout]  # that this process runs, by row
    filler: Rollout  # a short one without counted tokens, for micro-steps in which only other processes have rows
    labels: torch.Tensor  # (P, G), of all processes
    plans: list[StepPlan]  # one per optimizer step
    policy_version: int  # optimizer steps done when the rollouts were generated
    process: int  # index of this process
    layout: str = ""  # how its forwards are laid out, in words
    metrics: dict[str, float] = field(default_factory=dict)

    def micro_step(self, step: int, index: int) -> list[list[Rollout]]:
        """Rollouts of this process in every forward of a micro-step; a filler if only other processes have any."""
        forwards = self.plans[step].micro_steps[index]
        return [[self.rollouts[row] for row in forward[self.process]] or [self.filler] for forward in forwards]

    def forwards(self, step: int) -> list[list[Rollout]]:
        """Rollouts of this process in every forward of an optimizer step."""
        micro_steps = range(len(self.plans[step].micro_steps))
        return [rollouts for index in micro_steps for rollouts in self.micro_step(step, index)]

    def step_weights(self, step: int, on_policy: bool) -> StepWeights:
        """The groups of an optimizer step, weights not yet known."""
        plan = self.plans[step]
        labels = self.labels[plan.groups.start : plan.groups.stop]
        return StepWeights(labels, plan.groups.start * self.labels.size(1), on_policy)


@dataclass(eq=False)
class GenerationPlanner:
    forwards: Forwards
    choice: LayoutChoice
    objective: Objective
    settings: StepSettings

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
                The rollouts generated on this process.
            labels (`torch.Tensor` of shape `(P, G)`), counts (`torch.Tensor` of shape `(P * G, 3)`):
                Labels and token counts of all processes.
            policy_version (`int`), first_step (`int`):
                Optimizer steps done so far, and the next one of the generation; above 0 if a run resumes inside it.
            one_per_backward (`bool`):
                Whether every forward needs its own backward.
        """
        accelerator, settings = self.forwards.accelerator, self.settings
        capacity = self._capacity(rollouts, counts, one_per_backward)
        filler = min(rollouts, key=lambda rollout: rollout.length).filler()
        on_policy_step = first_step if settings.num_iterations == 1 else None
        sizes = (settings.num_generations, settings.steps_per_generation, settings.micro_steps)

        def share_out(rollouts: list[Rollout], labels: torch.Tensor) -> Generation:
            plans = plan_generation(capacity, self._keep(labels, counts).tolist(), *sizes, on_policy_step)
            processes = range(accelerator.num_processes)
            wanted = [[row for plan in plans for row in plan.rows(process)] for process in processes]
            mine = exchange(rollouts, wanted, accelerator.process_index, accelerator.device)
            return Generation(mine, filler, labels, plans, policy_version, accelerator.process_index)

        generation, dropped = share_out(rollouts, labels), {}
        if settings.mismatch_limit is not None:
            kept, dropped = self._drop_mismatched(generation, first_step, settings.mismatch_limit)
            if not torch.equal(kept.isnan(), labels.isnan()):
                generation = share_out(list(generation.rollouts.values()), kept)
        self._remember_logps(generation, first_step)
        generation.layout = self.choice.describe(capacity.sharing)
        keep, tokens = self._keep(generation.labels, counts), counts[:, -1].float()
        generation.metrics = self.label_metrics(generation.labels) | dropped
        generation.metrics["trained/rollouts"] = keep.float().mean().item()
        generation.metrics["trained/tokens"] = ((tokens * keep).sum() / tokens.sum().clamp(min=1)).item()
        return generation

    def label_metrics(self, labels: torch.Tensor) -> dict[str, float]:
        """Shares of the kinds of groups."""
        return {f"groups/{name}": share for name, share in group_shares(labels).items()}

    def _keep(self, labels: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Which rollouts (P * G,) are run."""
        every = self.settings.trains_every_rollout
        return counts[:, -1] > 0 if every else self.objective.informative(labels).flatten()

    def _capacity(self, rollouts: list[Rollout], counts: torch.Tensor, one_per_backward: bool) -> Capacity:
        """What a micro-step holds, and how its forwards are laid out; the same on every process."""
        accelerator, limit = self.forwards.accelerator, self.choice.position_limit
        prompts, completions, _ = counts.T.tolist()
        packed, sharing = self.choice.packs_all(rollouts), None
        if packed and self.choice.shared:
            keys = torch.tensor([rollout.prompt_key for rollout in rollouts], device=counts.device)
            lengths = counts[:, :2].sum(dim=1).tolist()
            sharing = self.choice.among(gathered(accelerator, keys).tolist(), prompts, lengths)
        return Capacity(
            accelerator.num_processes,
            self.settings.rows_per_process,
            prompts,
            completions,
            packed,
            limit.length if limit else None,
            sharing,
            one_per_backward,
        )

    def _drop_mismatched(
        self, generation: Generation, first_step: int, limit: float
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """
        The labels (P, G) without those of rollouts on which sampler and trainer disagree, and the share of those.

        Runs every rollout of the plan under the current policy, which stores its old log-probabilities. Rollouts that
        are not in the plan have no gradient, with or without a label, so they are not compared.
        """
        labels = generation.labels
        if generation.filler.sampling_per_token_logps is None:
            raise ValueError(
                "`mismatch_limit`: the rollouts came without log-probabilities of the engine that sampled them. "
                "Return `logprobs` from `rollout_func`, write use_vllm=True, or omit `mismatch_limit`."
            )
        ratios = torch.zeros(labels.numel(), device=labels.device)
        for _, batch in self._batches_of(generation, first_step):
            batch.store("old_per_token_logps", logps := self.forwards.policy_logps(batch))
            known = token_log_ratios(logps, batch.padded("sampling_per_token_logps"), batch.mask)
            for row, ratio in zip(batch.rows, sequence_log_ratios(*known), strict=True):
                if row is not None:
                    ratios[row] = ratio
        ratios = summed(self.forwards.accelerator, ratios)
        dropped = beyond(ratios, limit).view(labels.shape) & ~labels.isnan()
        compared = max(sum(plan.trained for plan in generation.plans), 1)
        return labels.masked_fill(dropped, torch.nan), {"mismatch/dropped": dropped.sum().item() / compared}

    def _remember_logps(self, generation: Generation, first_step: int) -> None:
        """Old log-probabilities for the steps that will be off policy, reference ones for all."""
        known = self.settings.mismatch_limit is not None
        for step, batch in self._batches_of(generation, first_step):
            if step != first_step and not known:
                batch.store("old_per_token_logps", self.forwards.policy_logps(batch))
            self.remember_reference(batch)

    def _batches_of(self, generation: Generation, first_step: int) -> Iterator[tuple[int, MicroBatch]]:
        """Every forward of a generation with its optimizer step; none of the steps before which a run resumed."""
        start = first_step if self.settings.num_iterations == 1 else 0
        for step in range(start, len(generation.plans)):
            for rollouts in generation.forwards(step):
                yield step, self.choice.collate(rollouts)

    def remember_reference(self, batch: MicroBatch) -> None:
        """Log-probabilities under the reference model, if the loss compares with it."""
        if self.settings.regularizers.reads_reference:
            batch.store("ref_per_token_logps", self.forwards.reference_logps(batch))
