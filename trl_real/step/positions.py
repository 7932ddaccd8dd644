"""Rotary positions whose frequencies depend on the longest row beside them, and what keeps a row's its own.

In: a model. Out: the length at which its frequencies change, and whether rows beyond can be run at all. Left out:
which rows then share a forward (`plan.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from .rollouts import Rollout


@dataclass(frozen=True)
class PositionLimit:
    """
    A length beyond which a forward turns all its rows by other angles.

    Args:
        length (`int`):
            Tokens of the longest row that the usual frequencies are for.
        refuses_longer (`bool`):
            Whether longer rows cannot be run exactly: with `rope_type="dynamic"` the angles depend on how long the
            longest row is, and on the forwards before. With `"longrope"` there are two sets of them.
    """

    length: int
    refuses_longer: bool

    def sides(self, rollouts: list[Rollout]) -> tuple[list[Rollout], list[Rollout]]:
        """The rollouts within the limit, and those beyond."""
        within = [rollout for rollout in rollouts if rollout.length <= self.length]
        return within, [rollout for rollout in rollouts if rollout.length > self.length]

    def check(self, length: int) -> None:
        """
        Refuses a row that is too long.

        Raises:
            `ValueError`: If the model has no positions of its own for a row of that many tokens.
        """
        if self.refuses_longer and length > self.length:
            raise ValueError(
                f"A rollout of {length} tokens is longer than the model's {self.length}, and its rope_type 'dynamic' "
                "gives every row positions that depend on the longest row beside it. Lower `max_completion_length` so "
                f"that prompt and completion have at most {self.length} tokens together, or give the model's "
                "config another rope_type, such as 'yarn'."
            )


def position_limit(model: nn.Module) -> PositionLimit | None:
    """Where the frequencies of this model change; `None` if they do not."""
    config = model.config.get_text_config()
    limits = list(_limits(config))
    if not limits:
        return None
    peft_configs = getattr(model, "peft_config", {}).values()
    virtual = max((peft.num_virtual_tokens for peft in peft_configs if peft.is_prompt_learning), default=0)
    lowest = min(limit.length for limit in limits)
    return PositionLimit(lowest - virtual, any(limit.refuses_longer for limit in limits))


def _limits(config: PreTrainedConfig) -> Iterator[PositionLimit]:
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    for parameters in [rope] if "rope_type" in rope else rope.values():  # of the model, or of each kind of layer
        if parameters["rope_type"] == "longrope":
            yield PositionLimit(parameters["original_max_position_embeddings"], refuses_longer=False)
        elif "dynamic" in parameters["rope_type"]:
            yield PositionLimit(config.max_position_embeddings, refuses_longer=True)
