"""ValidationConfig: GRPOConfig with the sampling of evaluation, for REAL and the baselines."""

import math
from dataclasses import dataclass

from trl import GRPOConfig

from ..options import document, option


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
        "Sampling temperature in evaluation, 0 for greedy answers. As in training by default.",
        "to evaluate as the model will be used.",
    )
    eval_top_p: float | None = option(
        None,
        "Nucleus sampling in evaluation. As in training by default.",
        "to evaluate as the model will be used.",
    )

    def __post_init__(self):
        if self.eval_temperature is not None and not 0 <= self.eval_temperature < math.inf:
            raise ValueError(
                f"`eval_temperature` must be a number from 0 (greedy answers) on, got {self.eval_temperature!r}."
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
        try:
            super().__post_init__()
        except ValueError as error:
            if wrong := self._torn_groups():
                raise ValueError(wrong) from error
            raise
        for name in ("temperature", "top_p"):
            if getattr(self, f"eval_{name}") is not None and name in (self.generation_kwargs or {}):
                raise ValueError(
                    f"`eval_{name}`: `generation_kwargs` has {name} too, and vLLM would take that. Write the field "
                    f"`{name}` instead."
                )

    def _torn_groups(self) -> str | None:
        """What TRL refuses of batches that do not hold whole groups, with the fields and what to write instead."""
        try:
            group, processes = self.num_generations_eval or self.num_generations, self.world_size
        except AttributeError:  # another field was refused before the processes were counted
            return None
        rows = self.per_device_eval_batch_size
        if self.eval_strategy != "no" and rows * processes % group:
            unit = math.lcm(group, processes) // processes
            return (
                f"`per_device_eval_batch_size`: {rows} x {processes} processes is no multiple of num_generations_eval="
                f"{group}, the rollouts of a prompt. Write per_device_eval_batch_size={-(-rows // unit) * unit}."
            )
        if self.generation_batch_size and self.generation_batch_size % self.num_generations:
            lower = self.generation_batch_size // self.num_generations * self.num_generations
            return (
                f"`generation_batch_size`: {self.generation_batch_size} rollouts (per_device_train_batch_size="
                f"{self.per_device_train_batch_size} x {processes} processes x steps_per_generation="
                f"{self.steps_per_generation}) are no multiple of num_generations={self.num_generations}. Write "
                f"numbers whose product is, such as {lower + self.num_generations}."
            )
        return None
