"""ValidationConfig: GRPOConfig with the sampling of evaluation, for REAL and the baselines."""

import math
from dataclasses import dataclass

from trl import GRPOConfig

from ..objective import LabelRule
from ..options import document, option
from .batches import wrong_batches


COUNTS = (
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    *("steps_per_generation", "num_generations_eval", "num_iterations", "max_completion_length"),
)


@document
@dataclass
class ValidationConfig(GRPOConfig):
    r"""[`~trl.GRPOConfig`] with the sampling of evaluation."""

    eval_temperature: float | None = option(
        None,
        "Sampling temperature in evaluation, 0 for greedy answers. Default: as in training.",
        "to evaluate as the model will be used.",
    )
    eval_top_p: float | None = option(
        None,
        "Nucleus sampling in evaluation. Default: as in training.",
        "to evaluate as the model will be used.",
    )

    def __post_init__(self):
        if self.eval_temperature is not None and not 0 <= self.eval_temperature < math.inf:
            raise ValueError(
                f"`eval_temperature` must be a finite number of at least 0 (greedy answers), got "
                f"{self.eval_temperature!r}."
            )
        if self.eval_top_p is not None and not 0 < self.eval_top_p <= 1:
            raise ValueError(f"`eval_top_p` must be above 0 and at most 1, got {self.eval_top_p!r}.")
        for name in COUNTS:
            if getattr(self, name, None) is not None and getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be 1 or more, got {getattr(self, name)!r}.")
        if self.temperature <= 0:
            raise ValueError(
                f"`temperature` must be above 0, got {self.temperature!r}: rollouts of a prompt must differ. Write "
                "temperature=1.0, or 0.6 as in the paper."
            )
        written, both = self.generation_batch_size, self.generation_batch_size and self.steps_per_generation
        try:
            super().__post_init__()
        except ValueError as error:
            # If another field was refused, the processes may not be counted yet
            if not both and hasattr(self, "distributed_state") and (wrong := wrong_batches(self, written)):
                raise ValueError(wrong) from error
            raise
        self._written_generation_batch_size = written
        for name in ("temperature", "top_p"):
            if getattr(self, f"eval_{name}") is not None and name in (self.generation_kwargs or {}):
                raise ValueError(
                    f"`eval_{name}`: `generation_kwargs` also has {name}, which vLLM would use. Write the field "
                    f"`{name}` instead."
                )

    def label_rule(self, reward_names: list[str]) -> LabelRule:
        """How rewards of functions with these names become labels."""
        return LabelRule(0.5)
