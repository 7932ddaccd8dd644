"""Scores → weights → loss: what happens in every micro-step.

In: the forwards of a micro-step and the groups of its optimizer step. Out: the value of the objective, with the
gradient of the weighted scores. The mathematics is in `objective`, what a user may add to it in `regularizers.py`.
Left out: which rollouts a micro-step has (`planning.py`).
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
from .metrics import StepMetrics, mismatch_sums, score_sums
from .mismatch import sequence_log_ratios, token_log_ratios
from .regularizers import per_token_kl
from .rollouts import Rollout
from .settings import StepSettings


@dataclass(eq=False)
class StepLoss:
    """
    The loss of the optimizer step, or of the evaluation batch, that is under way.

    Args:
        forwards ([`Forwards`]), choice ([`LayoutChoice`]):
            The models, and the layout of their forwards.
        objective ([`Objective`]):
            Weighs scores.
        settings ([`StepSettings`]):
            Of the run.
    """

    forwards: Forwards
    choice: LayoutChoice
    objective: Objective
    settings: StepSettings
    step: StepWeights = field(init=False)
    metrics: StepMetrics = field(init=False)  # of the step, or of the evaluation set
    training: bool = field(default=True, init=False)

    def start_step(self, generation: Generation, step: int, on_policy: bool, metrics: StepMetrics) -> None:
        """
        Weights of an optimizer step: of scores 0 on policy, else of the scores.

        A forward without gradient over the complete step gives the scores if a group is spread over backwards.
        """
        self.metrics, self.training = metrics, True
        self.step = generation.step_weights(step, on_policy)
        if on_policy:
            self._weigh(torch.zeros_like(self.step.labels))
        elif not generation.plans[step].whole_groups:
            with without_checkpointing(self.forwards.policy):
                self._score(generation.forwards(step))

    def start_evaluation_batch(self, labels: torch.Tensor, metrics: StepMetrics) -> None:
        """Complete groups with these labels (P, G), sampled just now, so that every score is 0."""
        self.metrics, self.training = metrics, False
        self.step = StepWeights(labels, 0, on_policy=True)
        self._weigh(torch.zeros_like(labels))

    def _score(self, forwards: list[list[Rollout]]) -> None:
        """Weights of the step from its scores under the policy as it is."""
        scores = torch.zeros_like(self.step.labels)
        for rollouts in forwards:
            batch = self.choice.collate(rollouts)
            logps, old_logps = self.forwards.policy_logps(batch), batch.padded("old_per_token_logps")
            scores += self.step.spread(batch.rows, sequence_scores(logps, old_logps, batch.mask))
        self._weigh(self.forwards.accelerator.reduce(scores, reduction="sum"))

    def _weigh(self, scores: torch.Tensor) -> None:
        self.step.weights, self.step.shares = self.objective.weigh(scores, self.step.labels)

    def __call__(self, model: Any, inputs: MicroStepBatch, groups: float, entropy_coef: float) -> torch.Tensor:
        """
        The objective's value, with the gradient of the weighted scores; times the processes, which average.

        Where forwards need backwards of their own, all but the last have had theirs.

        Args:
            model (`Any`):
                The policy as it is wrapped for training.
            inputs ([`MicroStepBatch`]):
                The forwards of the micro-step.
            groups (`float`):
                Groups of the optimizer step on all processes, over which the loss is a mean.
            entropy_coef (`float`):
                Weight of the entropy bonus.
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
        """One forward: scores (B,), and the sum over its rollouts of what is added to the objective."""
        regularizers = self.settings.regularizers
        logps, entropies, balance = self.forwards.for_loss(model, batch, regularizers.balances)
        old_logps = logps.detach() if self.step.on_policy else batch.padded("old_per_token_logps")
        if self.step.on_policy and self.settings.num_iterations > 1 and self.training:
            batch.store("old_per_token_logps", logps)
        terms, sums = regularizers.terms(batch, logps, old_logps, entropies, balance, entropy_coef)
        self.metrics.add(
            kl_old=per_token_kl(old_logps, logps).sum(),
            entropy=entropies.sum(),
            tokens=batch.mask.sum(),
            **sums,
            **self._mismatch(batch, old_logps),
        )
        return sequence_scores(logps, old_logps, batch.mask), terms

    def _mismatch(self, batch: MicroBatch, old_logps: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sums over how far the sampler was from the policy that generated, where both are known in training."""
        known_to_sampler = batch.rollouts[0].sampling_per_token_logps is not None
        if not (self.settings.compares_sampler and self.training and known_to_sampler):
            return {}
        ratios, known = token_log_ratios(old_logps, batch.padded("sampling_per_token_logps"), batch.mask)
        return mismatch_sums(ratios, known, sequence_log_ratios(ratios, known))

    def _weights_of(self, rows: list[int | None], scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and loss shares (B,) of these rows."""
        step = self.step
        weights, shares = step.weights, step.shares
        if weights is None:  # off policy, and every group is complete in this backward, perhaps on several processes
            known = self.forwards.accelerator.reduce(step.spread(rows, scores), reduction="sum")
            weights, shares = self.objective.weigh(known, step.labels)
        return step.pick(rows, weights, 0.0), step.pick(rows, shares, 0.0)
