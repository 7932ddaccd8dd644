"""Scores → weights → loss: what happens in every micro-step.

In: the forwards of a micro-step and the groups of its optimizer step. Out: the value of the objective, with the
gradient of the weighted scores. The mathematics is in `objective`, what a user may add to it in
`update/regularizers.py`. Left out: which rollouts a micro-step has (`planning.py`).
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from trl import GRPOTrainer

from ..engines.checkpointing import without_checkpointing
from ..metrics.mismatch import mismatch_sums
from ..metrics.step import score_sums
from ..objective.losses import sequence_scores
from ..update.generation import Generation, Objective, StepWeights
from ..update.micro_batches import MicroBatch, MicroStepBatch
from ..update.mismatch import sequence_log_ratios, token_log_ratios
from ..update.regularizers import KLLimit, Regularizers, per_token_kl, rollout_means
from ..update.rollouts import Rollout
from .entropy import entropy_weight
from .forwards import Forwards
from .record import StepRecord


@dataclass(eq=False)
class StepLoss:
    """
    The loss of the optimizer step, or of the evaluation batch, that is under way.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Its processes, and where it stands in the run.
        forwards ([`Forwards`]):
            Over its models.
        objective ([`Objective`]):
            Weighs scores.
        regularizers ([`Regularizers`]):
            What is added.
        record ([`StepRecord`]):
            Takes what is logged.
        kl_limit ([`KLLimit`], *optional*):
            Trust region around the policy that generated.
    """

    trainer: GRPOTrainer
    forwards: Forwards
    objective: Objective
    regularizers: Regularizers
    record: StepRecord
    kl_limit: KLLimit | None
    step: StepWeights = field(init=False)

    def start_step(self, generation: Generation, step: int) -> None:
        """
        Weights of an optimizer step: closed form on policy, else of the scores.

        A forward without gradient over the whole step gives the scores if a group is spread over micro-steps, and the
        KL of the step if there is a limit to it and the step has more than one micro-step.
        """
        on_policy, plan = self.trainer.state.global_step == generation.policy_version, generation.plans[step]
        self.step = generation.step_weights(step, on_policy)
        if on_policy:
            self._weigh(torch.zeros_like(self.step.labels))
        elif not plan.whole_groups or (self.kl_limit and not plan.in_one_micro_step):
            with without_checkpointing(self.trainer.model):
                self._score(generation.forwards(step))

    def _score(self, forwards: list[list[Rollout]]) -> None:
        """Weights and KL of the step from its scores under the policy as it is."""
        kl, scores = self.step.labels.new_zeros(1), torch.zeros_like(self.step.labels)
        for rollouts in forwards:
            batch = self.forwards.collate(rollouts)
            logps, old_logps = self.forwards.policy_logps(batch), batch.padded("old_per_token_logps")
            scores += self.step.spread(batch.rows, sequence_scores(logps, old_logps, batch.mask))
            kl += rollout_means(per_token_kl(old_logps, logps), batch.mask).sum()
        known = self.trainer.accelerator.reduce(torch.cat([kl, scores.flatten()]), reduction="sum")
        self.step.kl = known[0] / max(self.step.trained, 1)
        self._weigh(known[1:].view(scores.shape))

    def start_evaluation_batch(self, labels: torch.Tensor) -> None:
        """Whole groups with these labels (P, G), sampled just now, so that every score is 0."""
        self.step = StepWeights(labels, 0, on_policy=True, trained=labels.numel())
        self._weigh(torch.zeros_like(labels))

    def _weigh(self, scores: torch.Tensor) -> None:
        self.step.weights, self.step.shares = self.objective.weigh(scores, self.step.labels)

    def __call__(self, model: Any, inputs: MicroStepBatch) -> torch.Tensor:
        """The objective's value, with the gradient of the weighted scores; times the processes, which average."""
        step, rows, num_groups = self.step, inputs.rows, self._groups_in_step()
        forwards = [self._scores_and_terms(model, batch) for batch in inputs.batches]
        scores = torch.cat([scores for scores, _, _ in forwards])  # (B,)
        terms = torch.stack([terms for _, terms, _ in forwards]).sum()
        weights, shares = self._weights_of(rows, scores)
        surrogate = (weights * scores).sum()
        value = surrogate - surrogate.detach() + shares.sum()
        loss = (value + terms / step.labels.size(1)) / num_groups
        if self.kl_limit:
            loss = loss + self._penalty(rows, torch.stack([kl for _, _, kl in forwards]).sum())
        self.record.add(
            loss=loss,
            policy_loss=shares.sum() / num_groups,
            **score_sums(scores.detach(), step.pick(rows, step.labels, torch.nan), weights, self.objective.tau),
        )
        return loss * self.trainer.accelerator.num_processes

    def _scores_and_terms(self, model: Any, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One forward: scores (B,), and sums over its rollouts of what was added to the objective, and of their KL."""
        logps, entropies, balance = self.forwards.for_loss(model, batch)
        old_logps = logps.detach() if self.step.on_policy else batch.padded("old_per_token_logps")
        if self.step.on_policy and self.trainer.num_iterations > 1 and self.trainer.model.training:
            batch.store("old_per_token_logps", logps)
        weight = entropy_weight(self.trainer)
        terms, sums = self.regularizers.terms(batch, logps, old_logps, entropies, balance, weight)
        kl = per_token_kl(old_logps, logps)
        self.record.add(
            kl_old=kl.sum(),
            entropy=entropies.sum(),
            tokens=batch.mask.sum(),
            **sums,
            **self._mismatch(batch, old_logps),
        )
        return sequence_scores(logps, old_logps, batch.mask), terms, rollout_means(kl, batch.mask).sum()

    def _mismatch(self, batch: MicroBatch, old_logps: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sums over how far the sampler was from the policy that generated, where both are known in training."""
        compared = self.trainer.args.use_vllm or self.trainer.args.mismatch_limit is not None
        if not compared or not self.trainer.model.training or batch.rollouts[0].sampling_per_token_logps is None:
            return {}
        ratios, known = token_log_ratios(old_logps, batch.padded("sampling_per_token_logps"), batch.mask)
        return mismatch_sums(ratios, known, sequence_log_ratios(ratios, known))

    def _penalty(self, rows: list[int | None], kl: torch.Tensor) -> torch.Tensor:
        """This micro-step's share of the penalty, with the gradient of the KL of its rollouts (their sum)."""
        step, run = self.step, len(rows) - rows.count(None)
        self.record.add(trained_kl=kl, trained=torch.tensor(run, device=kl.device))
        if step.on_policy:
            return kl.new_zeros(())
        trained = max(step.trained, 1)
        known = step.kl
        if known is None:  # the step has one micro-step
            known = self.trainer.accelerator.reduce(kl.detach(), reduction="sum") / trained
        value, slope = self.kl_limit.penalty(known)
        return (slope * (kl - kl.detach()) + value * run) / trained

    def _weights_of(self, rows: list[int | None], scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and loss shares (B,) of these rows."""
        step = self.step
        weights, shares = step.weights, step.shares
        if weights is None:  # off policy, and every group is whole in this micro-step, perhaps on several processes
            known = self.trainer.accelerator.reduce(step.spread(rows, scores), reduction="sum")
            weights, shares = self.objective.weigh(known, step.labels)
        return step.pick(rows, weights, 0.0), step.pick(rows, shares, 0.0)

    def _groups_in_step(self) -> float:
        """Groups over which the loss is a mean: the evaluation set's or the step's; an epoch's last has fewer."""
        trainer = self.trainer
        if not trainer.model.training:
            return trainer.validation.prompts
        rows = trainer.args.per_device_train_batch_size * trainer.accelerator.num_processes
        return trainer.current_gradient_accumulation_steps * rows / trainer.num_generations
