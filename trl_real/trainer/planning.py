"""Rollouts → labels → plan: what happens once per generation.

In: prompts. Out: a `Generation` (`update/generation.py`): this process's rollouts with the log-probabilities that
later steps compare with, the labels of all, and the plan of every optimizer step. Left out: generating and rewarding
(TRL), what the micro-steps do with them (`loss.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from accelerate.logging import get_logger
from trl import GRPOTrainer

from ..engines.checkpointing import without_checkpointing
from ..metrics.completions import Mark, Pull
from ..metrics.mixed import MixedWatch
from ..objective.labels import LabelRule, group_shares
from ..update.generation import Generation, Objective
from ..update.micro_batches import MicroBatch
from ..update.mismatch import beyond, sequence_log_ratios, token_log_ratios
from ..update.plan import Capacity, StepPlan, plan_generation
from ..update.rollouts import Rollout, exchange, token_counts, unpad
from ..update.sharing import Sharing
from .forwards import Forwards
from .position import micro_steps_per_step
from .start_line import start_line


logger = get_logger(__name__)


@dataclass(eq=False)
class GenerationPlanner:
    """
    Makes a plan of every generation.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Generates and rewards.
        forwards ([`Forwards`]):
            Over its models.
        objective ([`Objective`]):
            Says which rollouts have a gradient.
        label_rule ([`LabelRule`]):
            Says which are right.
        trains_every_rollout (`bool`):
            Whether another term of the loss gives every rollout a gradient.
    """

    trainer: GRPOTrainer
    forwards: Forwards
    objective: Objective
    label_rule: LabelRule
    trains_every_rollout: bool
    reading: bool = field(default=False, init=False)  # while TRL scores completions
    mixed_watch: MixedWatch = field(default_factory=MixedWatch, init=False)
    _started: bool = field(default=False, init=False)

    def read(self, inputs: list[dict[str, Any]]) -> tuple[list[Rollout], torch.Tensor, torch.Tensor]:
        """Generate: this process's rollouts; labels (P, G) and token counts (P * G, 3) over all processes."""
        trainer = self.trainer
        self.reading = True
        try:
            with without_checkpointing(trainer.model):
                batch = trainer._generate_and_score_completions(inputs)
        finally:
            self.reading = False
        rollouts = unpad(batch, trainer.accelerator.process_index * len(inputs))
        counts = trainer.accelerator.gather(token_counts(batch))
        if limit := self.forwards.position_limit:
            limit.check(int(counts[:, :2].sum(dim=1).max()))
        self.forwards.try_out(rollouts)
        rewards = self.label_rule.rewards(trainer.rewards_per_func, trainer.reward_weights.to(counts.device))
        if warning := self.label_rule.warning(rewards):
            logger.warning(warning)
        mode = "train" if trainer.model.training else "eval"
        groups = (-1, trainer.num_generations if mode == "train" else trainer.num_generations_eval)
        return rollouts, self.label_rule.labels(rewards.view(groups), counts[:, -1].view(groups)), counts

    def log_labels(self, labels: torch.Tensor) -> None:
        """What is logged of the labels (P, G) of a generation."""
        trainer, mode = self.trainer, "train" if self.trainer.model.training else "eval"
        weights, _ = self.objective.weigh(torch.zeros_like(labels), labels)  # as just sampled, so at score 0
        trainer._logs["extra"]["label"].extend(map(Mark, labels.flatten().tolist()))
        trainer._logs["extra"]["weight"].extend(map(Pull, (-weights).flatten().tolist()))
        shares = group_shares(labels)
        for name, share in shares.items():
            trainer._metrics[mode][f"groups/{name}"].append(share)
        if mode == "train" and (warning := self.mixed_watch.warning(shares, len(labels))):
            logger.warning(warning)

    def plan(self, inputs: list[dict[str, Any]], first_step: int) -> Generation:
        """Rollouts, labels and plan of a generation, with the log-probabilities that its later steps compare with."""
        rollouts, labels, counts = self.read(inputs)
        capacity = self._capacity(rollouts, counts)
        if not self._started:
            line = start_line(self.trainer, self.forwards, self.label_rule, capacity.sharing)
            self.trainer.accelerator.print(line)
            self._started = True
        filler = min(rollouts, key=lambda rollout: rollout.length).filler()
        share_out = partial(self._share_out, filler=filler, counts=counts, capacity=capacity, first_step=first_step)
        generation = share_out(rollouts, labels)
        if self.trainer.args.mismatch_limit is not None:
            with without_checkpointing(self.trainer.model):
                believed = self._believed(generation, first_step)
            if not torch.equal(believed.isnan(), labels.isnan()):
                generation = share_out(list(generation.rollouts.values()), believed)
        self.log_labels(generation.labels)
        self._log_trained(self._keep(generation.labels, counts), counts[:, -1].float())
        with without_checkpointing(self.trainer.model):
            self.remember_logps(generation, first_step)
        return generation

    def _keep(self, labels: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Which rollouts (P * G,) are run."""
        return counts[:, -1] > 0 if self.trains_every_rollout else self.objective.informative(labels).flatten()

    def _share_out(
        self,
        rollouts: list[Rollout],
        labels: torch.Tensor,
        filler: Rollout,
        counts: torch.Tensor,
        capacity: Capacity,
        first_step: int,
    ) -> Generation:
        """Plans with these labels, and the rollouts where they are run."""
        accelerator = self.trainer.accelerator
        plans = self._plans(self._keep(labels, counts), capacity, first_step)
        wanted = [[row for plan in plans for row in plan.rows(other)] for other in range(accelerator.num_processes)]
        return Generation(
            rollouts=exchange(rollouts, wanted, accelerator.process_index, accelerator.device),
            filler=filler,
            labels=labels,
            plans=plans,
            policy_version=self.trainer.state.global_step,
            process=accelerator.process_index,
        )

    def _sharing(self, rollouts: list[Rollout], counts: torch.Tensor) -> Sharing | None:
        """Which rows of all processes have one prompt, where prompts are shared."""
        prompts = self.forwards.prompts
        if not prompts.shared:
            return None
        keys = torch.tensor([rollout.prompt_key for rollout in rollouts], device=counts.device)
        gathered = self.trainer.accelerator.gather(keys).tolist()
        return prompts.among(gathered, counts[:, 0].tolist(), counts[:, :2].sum(dim=1).tolist())

    def _believed(self, generation: Generation, first_step: int) -> torch.Tensor:
        """
        The labels (P, G) without those of rollouts that sampler and trainer disagree on.

        Runs every rollout of the plan under the policy as it is, which stores its old log-probabilities. Rollouts that
        are not in the plan have no gradient, with or without a label, so they are not asked.

        Raises:
            `ValueError`: If the rollouts came without the sampler's log-probabilities.
        """
        labels, metrics = generation.labels, self.trainer._metrics["train"]
        if generation.filler.sampling_per_token_logps is None:
            raise ValueError(
                "`mismatch_limit`: the rollouts came without log-probabilities of the engine that sampled them. "
                "Return `logprobs` from `rollout_func`, take use_vllm=True, or leave `mismatch_limit` out."
            )
        ratios = torch.zeros(labels.numel(), device=labels.device)
        for _, rollouts in self._forwards_of(generation, first_step):
            batch = self.forwards.collate(rollouts)
            batch.store("old_per_token_logps", logps := self.forwards.policy_logps(batch))
            log_ratios = sequence_log_ratios(
                *token_log_ratios(logps, batch.padded("sampling_per_token_logps"), batch.mask)
            )
            for row, ratio in zip(batch.rows, log_ratios, strict=True):
                if row is not None:
                    ratios[row] = ratio
        ratios = self.trainer.accelerator.reduce(ratios, reduction="sum")
        dropped = beyond(ratios, self.trainer.args.mismatch_limit).view(labels.shape) & ~labels.isnan()
        asked = sum(plan.trained for plan in generation.plans)
        metrics["mismatch/dropped"].append(dropped.sum().item() / max(asked, 1))
        return labels.masked_fill(dropped, torch.nan)

    def _capacity(self, rollouts: list[Rollout], counts: torch.Tensor) -> Capacity:
        """What a micro-step holds, and how its forwards are laid out; the same on every process."""
        packed, limit = self.forwards.packs_all(rollouts), self.forwards.position_limit
        prompts, completions, _ = counts.T.tolist()
        return Capacity(
            self.trainer.accelerator.num_processes,
            self.trainer.args.per_device_train_batch_size,
            prompts,
            completions,
            packed,
            limit.length if limit else None,
            self._sharing(rollouts, counts) if packed else None,
        )

    def _plans(self, keep: torch.Tensor, capacity: Capacity, first_step: int) -> list[StepPlan]:
        """One for every optimizer step, the same on every process; rows that are not kept run nowhere."""
        micro_steps = micro_steps_per_step(self.trainer.args)
        return plan_generation(
            capacity,
            keep.tolist(),
            self.trainer.num_generations,
            self.trainer.args.steps_per_generation // micro_steps,
            micro_steps,
            on_policy_step=first_step if self.trainer.num_iterations == 1 else None,
        )

    def _log_trained(self, keep: torch.Tensor, tokens: torch.Tensor) -> None:
        metrics = self.trainer._metrics["train"]
        metrics["trained/rollouts"].append(keep.float().mean().item())
        metrics["trained/tokens"].append(((tokens * keep).sum() / tokens.sum().clamp(min=1)).item())

    def remember_logps(self, generation: Generation, first_step: int) -> None:
        """Old log-probabilities for the steps that will be off policy, reference ones for all."""
        known = self.trainer.args.mismatch_limit is not None
        for step, rollouts in self._forwards_of(generation, first_step):
            batch = self.forwards.collate(rollouts)
            if step != first_step and not known:
                batch.store("old_per_token_logps", self.forwards.policy_logps(batch))
            self.remember_reference(batch)

    def _forwards_of(self, generation: Generation, first_step: int) -> Iterator[tuple[int, list[Rollout]]]:
        """Every forward of a generation with its optimizer step; none of a step that a resumed run is past."""
        start = first_step if self.trainer.num_iterations == 1 else 0
        for step in range(start, len(generation.plans)):
            for rollouts in generation.forwards(step):
                yield step, rollouts

    def remember_reference(self, batch: MicroBatch) -> None:
        """Log-probabilities under the reference model, if the loss compares with it."""
        if self.trainer.beta != 0.0:
            batch.store("ref_per_token_logps", self.forwards.reference_logps(batch))
