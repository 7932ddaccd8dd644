"""Scores → weights → loss: what happens in every micro-step.

In: the forwards of a micro-step and the groups of its optimizer step. Out: the value of the objective, with the
gradient of the weighted scores. The mathematics is in `objective`, what a user may add to it in
`update/regularizers.py`. Left out: which rollouts a micro-step has (`planning.py`).
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from trl import GRPOTrainer

from ..engines.backwards import backward_without_sync
from ..metrics.mismatch import mismatch_sums
from ..metrics.step import score_sums
from ..objective.losses import sequence_scores
from ..objective.objective import Objective
from ..update.generation import Generation, StepWeights
from ..update.micro_batches import MicroBatch, MicroStepBatch
from ..update.mismatch import sequence_log_ratios, token_log_ratios
from ..update.regularizers import Regularizers, per_token_kl
from ..update.rollouts import Rollout
from .checkpointing import without_checkpointing
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
    """

    trainer: GRPOTrainer
    forwards: Forwards
    objective: Objective
    regularizers: Regularizers
    record: StepRecord
    step: StepWeights = field(init=False)

    def start_step(self, generation: Generation, step: int) -> None:
        """
        Weights of an optimizer step: closed form on policy, else of the scores.

        A forward without gradient over the complete step gives the scores if a group is spread over micro-steps.
        """
        on_policy, plan = self.trainer.state.global_step == generation.policy_version, generation.plans[step]
        self.step = generation.step_weights(step, on_policy)
        if on_policy:
            self._weigh(torch.zeros_like(self.step.labels))
        elif not plan.whole_groups:
            with without_checkpointing(self.trainer.model):
                self._score(generation.forwards(step))

    def _score(self, forwards: list[list[Rollout]]) -> None:
        """Weights of the step from its scores under the policy as it is."""
        scores = torch.zeros_like(self.step.labels)
        for rollouts in forwards:
            batch = self.forwards.collate(rollouts)
            logps, old_logps = self.forwards.policy_logps(batch), batch.padded("old_per_token_logps")
            scores += self.step.spread(batch.rows, sequence_scores(logps, old_logps, batch.mask))
        self._weigh(self.trainer.accelerator.reduce(scores, reduction="sum"))

    def start_evaluation_batch(self, labels: torch.Tensor) -> None:
        """Whole groups with these labels (P, G), sampled just now, so that every score is 0."""
        self.step = StepWeights(labels, 0, on_policy=True)
        self._weigh(torch.zeros_like(labels))

    def _weigh(self, scores: torch.Tensor) -> None:
        self.step.weights, self.step.shares = self.objective.weigh(scores, self.step.labels)

    def __call__(self, model: Any, inputs: MicroStepBatch) -> torch.Tensor:
        """
        The objective's value, with the gradient of the weighted scores; times the processes, which average.

        Where forwards need backwards of their own, all but the last have had theirs.
        """
        *others, last = inputs.backwards
        accelerator = self.trainer.accelerator
        done = [backward_without_sync(accelerator, model, partial(self._loss, model, part)) for part in others]
        return sum(done, self._loss(model, last))

    def _loss(self, model: Any, inputs: MicroStepBatch) -> torch.Tensor:
        """The loss of forwards that share a backward."""
        step, rows, num_groups = self.step, inputs.rows, self._groups_in_step()
        forwards = [self._scores_and_terms(model, batch) for batch in inputs.batches]
        scores = torch.cat([scores for scores, _ in forwards])  # (B,)
        terms = torch.stack([terms for _, terms in forwards]).sum()
        weights, shares = self._weights_of(rows, scores)
        surrogate = (weights * scores).sum()
        value = surrogate - surrogate.detach() + shares.sum()
        loss = (value + terms / step.labels.size(1)) / num_groups
        self.record.add(
            loss=loss,
            policy_loss=shares.sum() / num_groups,
            **score_sums(scores.detach(), step.pick(rows, step.labels, torch.nan), weights, self.objective.tau),
        )
        return loss * self.trainer.accelerator.num_processes

    def _scores_and_terms(self, model: Any, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward: scores (B,), and the sum over its rollouts of what is added to the objective."""
        logps, entropies, balance = self.forwards.for_loss(model, batch)
        old_logps = logps.detach() if self.step.on_policy else batch.padded("old_per_token_logps")
        if self.step.on_policy and self.trainer.num_iterations > 1 and self.trainer.model.training:
            batch.store("old_per_token_logps", logps)
        weight = entropy_weight(self.trainer)
        terms, sums = self.regularizers.terms(batch, logps, old_logps, entropies, balance, weight)
        self.record.add(
            kl_old=per_token_kl(old_logps, logps).sum(),
            entropy=entropies.sum(),
            tokens=batch.mask.sum(),
            **sums,
            **self._mismatch(batch, old_logps),
        )
        return sequence_scores(logps, old_logps, batch.mask), terms

    def _mismatch(self, batch: MicroBatch, old_logps: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sums over how far the sampler was from the policy that generated, where both are known in training."""
        compared = self.trainer.args.use_vllm or self.trainer.args.mismatch_limit is not None
        if not compared or not self.trainer.model.training or batch.rollouts[0].sampling_per_token_logps is None:
            return {}
        ratios, known = token_log_ratios(old_logps, batch.padded("sampling_per_token_logps"), batch.mask)
        return mismatch_sums(ratios, known, sequence_log_ratios(ratios, known))

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
