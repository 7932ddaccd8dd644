"""ValidationConfig: GRPOConfig with the sampling of evaluation, for REAL and the baselines."""

import math
from dataclasses import dataclass, field

from trl import GRPOConfig


@dataclass
class ValidationConfig(GRPOConfig):
    r"""
    [`~trl.GRPOConfig`] with the sampling of evaluation.

    Parameters:
        eval_temperature (`float`, *optional*):
            Sampling temperature in evaluation, 0 for greedy answers. As in training by default.
        eval_top_p (`float`, *optional*):
            Nucleus sampling in evaluation. As in training by default.
    """

    eval_temperature: float | None = field(
        default=None,
        metadata={"help": "Sampling temperature in evaluation, 0 for greedy answers. As in training by default."},
    )
    eval_top_p: float | None = field(
        default=None, metadata={"help": "Nucleus sampling in evaluation. As in training by default."}
    )

    def __post_init__(self):
        if self.eval_temperature is not None and not 0 <= self.eval_temperature < math.inf:
            raise ValueError(
                f"`eval_temperature` must be a number from 0 (greedy answers) on, got {self.eval_temperature!r}."
            )
        if self.eval_top_p is not None and not 0 < self.eval_top_p <= 1:
            raise ValueError(f"`eval_top_p` must be above 0 and at most 1, got {self.eval_top_p!r}.")
        super().__post_init__()
        for name in ("temperature", "top_p"):
            if getattr(self, f"eval_{name}") is not None and name in (self.generation_kwargs or {}):
                raise ValueError(
                    f"`eval_{name}`: `generation_kwargs` has {name} too, and vLLM would take that. Write the field "
                    f"`{name}` instead."
                )
