"""Scores → weights → loss, and the added terms: what happens in every micro-step.

The loss of a micro-step has the value of the objective and the gradient of the weighted scores. Each added term is a
mean over the rollouts of an optimizer step of a mean over the rollout's own tokens, like Eq. 5, so that it does not
depend on the batching. Legend: B rollouts, C completion tokens of the longest completion.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ..engines.backwards import backward_without_sync
from ..engines.checkpointing import without_checkpointing
from ..objective import Objective, sequence_scores
from .choice import LayoutChoice
from .forwards import Forwards
from .generation import Generation, StepWeights
from .layouts import MicroBatch, MicroStepBatch
from .metrics import StepMetrics, mismatch_sums, score_sums, token_log_ratios
from .rollouts import Rollout, summed
from .settings import Regularizers, StepSettings


@dataclass(eq=False)
class StepLoss:
    """The loss of the current optimizer step or evaluation batch."""

    forwards: Forwards
    choice: LayoutChoice
    objective: Objective
    settings: StepSettings
    step: StepWeights = field(init=False)
    metrics: StepMetrics = field(init=False)  # of the step, or of the evaluation set
    training: bool = field(default=True, init=False)

    def start_step(self, generation: Generation, step: int, on_policy: bool, metrics: StepMetrics) -> None:
        """Compute the weights of an optimizer step, if they do not follow from the scores of its micro-steps."""
        self.metrics, self.training = metrics, True
        self.step = generation.step_weights(step, on_policy)
        if on_policy:
            self._weigh(torch.zeros_like(self.step.labels))
        elif not generation.plans[step].whole_groups:
            with without_checkpointing(self.forwards.policy):
                self._score(generation.forwards(step))

    def start_evaluation_batch(self, labels: torch.Tensor, metrics: StepMetrics) -> None:
        """Complete groups with these labels (P, G), just sampled, so that every score is 0."""
        self.metrics, self.training = metrics, False
        self.step = StepWeights(labels, 0, on_policy=True)
        self._weigh(torch.zeros_like(labels))

    def _score(self, forwards: list[list[Rollout]]) -> None:
        """Weights of the step from a forward without gradient over all its rollouts."""
        scores = torch.zeros_like(self.step.labels)
        for rollouts in forwards:
            batch = self.choice.collate(rollouts)
            logps, old_logps = self.forwards.policy_logps(batch), batch.padded("old_per_token_logps")
            scores += self.step.spread(batch.rows, sequence_scores(logps, old_logps, batch.mask))
        self._weigh(summed(self.forwards.accelerator, scores))

    def _weigh(self, scores: torch.Tensor) -> None:
        self.step.weights, self.step.shares = self.objective.weigh(scores, self.step.labels)

    def __call__(self, model: Any, inputs: MicroStepBatch, groups: float, entropy_coef: float) -> torch.Tensor:
        """
        The objective's value, with the gradient of the weighted scores, multiplied by the number of processes, which
        average it. If forwards need backwards of their own, all but the last have had theirs. `model` is the policy as
        it is wrapped for training; the loss is a mean over `groups`, those of the optimizer step on all processes.
        """
        *others, last = inputs.backwards
        accelerator, loss = self.forwards.accelerator, partial(self._loss, model, groups, entropy_coef)
        done = [backward_without_sync(accelerator, model, partial(loss, part)) for part in others]
        return sum(done, loss(last))

    def _loss(self, model: Any, groups: float, entropy_coef: float, inputs: MicroStepBatch) -> torch.Tensor:
        """The loss of forwards that share a backward."""
        step, rows = self.step, inputs.rows
        forwards = [self._scores_and_terms(model, batch, entropy_coef) for batch in inputs.batches]
        scores = torch.cat([scores for scores, _ in forwards])  # (B,)
        terms = torch.stack([terms for _, terms in forwards]).sum()
        weights, shares = self._weights_of(rows, scores)
        surrogate = (weights * scores).sum()
        value = surrogate - surrogate.detach() + shares.sum()
        loss = (value + terms / step.labels.size(1)) / groups
        self.metrics.add(
            loss=loss,
            policy_loss=shares.sum() / groups,
            **score_sums(scores.detach(), step.pick(rows, step.labels, torch.nan), weights, self.objective.tau),
        )
        return loss * self.forwards.accelerator.num_processes

    def _scores_and_terms(
        self, model: Any, batch: MicroBatch, entropy_coef: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward: scores (B,), and the sum of the added terms over its rollouts."""
        regularizers = self.settings.regularizers
        logps, entropies, balance = self.forwards.for_loss(model, batch, regularizers.balance_coef != 0.0)
        old_logps = logps.detach() if self.step.on_policy else batch.padded("old_per_token_logps")
        if self.step.on_policy and self.settings.num_iterations > 1 and self.training:
            batch.store("old_per_token_logps", logps)
        terms, sums = added_terms(regularizers, batch, logps, old_logps, entropies, balance, entropy_coef)
        if self.settings.compares_sampler and self.training and batch.rollouts[0].sampling_per_token_logps is not None:
            sums |= mismatch_sums(*token_log_ratios(old_logps, batch.padded("sampling_per_token_logps"), batch.mask))
        self.metrics.add(
            kl_old=per_token_kl(old_logps, logps).sum(), entropy=entropies.sum(), tokens=batch.mask.sum(), **sums
        )
        return sequence_scores(logps, old_logps, batch.mask), terms

    def _weights_of(self, rows: list[int | None], scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and loss shares (B,) of these rows."""
        step = self.step
        weights, shares = step.weights, step.shares
        if weights is None or shares is None:
            # Off policy, and every group is complete in this backward, perhaps on several processes
            known = summed(self.forwards.accelerator, step.spread(rows, scores))
            weights, shares = self.objective.weigh(known, step.labels)
        return step.pick(rows, weights, 0.0), step.pick(rows, shares, 0.0)


def per_token_kl(per_token_logps: torch.Tensor, target_per_token_logps: torch.Tensor) -> torch.Tensor:
    """TRL's KL estimator, e^d − d − 1 with d = log π_target − log π_θ, of the shape of its inputs. Never negative."""
    difference = target_per_token_logps - per_token_logps
    return difference.exp() - difference - 1


def rollout_means(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, C) values over each rollout's counted tokens, (B,); 0 for a rollout with none."""
    return values.masked_fill(mask == 0, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)


def added_terms(
    regularizers: Regularizers,
    batch: MicroBatch,
    logps: torch.Tensor,
    old_logps: torch.Tensor,
    entropies: torch.Tensor,
    balance: torch.Tensor | None,
    entropy_coef: float,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """
    Sum of the weighted terms over the rollouts of a forward, and their sums for the log.

    Args:
        logps, old_logps, entropies (`torch.Tensor` of shape `(B, C)`):
            Log-probabilities of the completion tokens under the policy and under the one that generated, and the
            policy's entropies; zero where a token does not count, as [`MicroBatch.unpack`] leaves them.
        balance (`torch.Tensor` of shape `(B,)`, *optional*):
            Balance losses of the rollouts.
    """
    terms, sums = logps.new_zeros(()), {}
    if regularizers.beta != 0.0:
        target = old_logps if regularizers.kl_target == "old" else batch.padded("ref_per_token_logps")
        kl = per_token_kl(logps, target)
        if regularizers.bias_correction:
            kl = kl * (logps - old_logps).exp()
        terms = terms + regularizers.beta * rollout_means(kl, batch.mask).sum()
        sums["kl"] = kl.sum()
    if entropy_coef != 0.0:
        terms = terms - entropy_coef * rollout_means(entropies, batch.mask).sum()
    if balance is not None:
        counted = batch.mask.any(dim=1)
        terms = terms + regularizers.balance_coef * (balance * counted).sum()
        sums |= {"aux_loss": (balance * counted).sum(), "rollouts": counted.sum()}
    return terms, sums
