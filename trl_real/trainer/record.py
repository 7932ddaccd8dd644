"""What is logged of optimizer steps and of evaluation sets.

In: sums of every micro-step (`metrics/step.py`). Out: means under TRL's metrics, counts of scores and weights for the
records of the log, and a warning when updates overshoot. Left out: writing the log (TRL, Transformers).
"""

from typing import Any

import torch
from accelerate.logging import get_logger
from trl import GRPOTrainer

from ..metrics.drift import DriftWatch
from ..metrics.histograms import HistogramSums
from ..metrics.step import StepMetrics


logger = get_logger(__name__)


class StepRecord:
    """
    Sums of the optimizer step and of the evaluation set that are under way.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Its processes and metrics.
        drift_watch ([`DriftWatch`], *optional*):
            Looks at the scores.
        added_terms (`bool`):
            Whether anything is added to the objective, so that `policy_loss` says more than `loss`.
    """

    def __init__(self, trainer: GRPOTrainer, drift_watch: DriftWatch | None, added_terms: bool):
        self.trainer = trainer
        self._drift_watch = drift_watch
        self._added_terms = added_terms
        self._training, self._evaluation = StepMetrics(), StepMetrics()
        self._histograms = HistogramSums()

    def add(self, **sums: torch.Tensor) -> None:
        """Adds the sums of a micro-step, or of an evaluation batch."""
        (self._training if self.trainer.model.training else self._evaluation).add(**sums)

    def start_evaluation(self) -> None:
        """Forgets what an interrupted evaluation left."""
        self._evaluation = StepMetrics()

    def end_evaluation(self) -> dict[str, float]:
        """Means over the set."""
        return self._means(self._evaluation)[0]

    def end_step(self) -> dict[str, float]:
        """Logs the optimizer step that ends; its means."""
        means, histograms = self._means(self._training)
        if self._drift_watch and (warning := self._drift_watch.warning(means)):
            logger.warning(warning)
        self._histograms.add(histograms)
        del means["loss"]  # logged by Transformers
        for name, value in means.items():
            self.trainer._metrics["train"][name].append(value)
        return means

    def take_histograms(self) -> dict[str, list[int]]:
        """The counts since the last record of the log."""
        return self._histograms.take()

    def _means(self, sums: StepMetrics) -> tuple[dict[str, float], dict[str, Any]]:
        means, histograms = sums.flush(self.trainer.accelerator)
        if not self._added_terms:
            del means["policy_loss"]
        return means, histograms
