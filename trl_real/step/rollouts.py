"""A generation batch as single rollouts without padding, and what processes exchange.

Legend: B rollouts, P prompt tokens, C completion tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from ..compat import split_pixel_values_by_grid


# Tensors of TRL's batch with one column per token of prompt + completion
TOKEN_TYPE_KEYS = ("token_type_ids", "mm_token_type_ids")
# Vision tensors and counts, one entry per rollout once TRL's `split_pixel_values_by_grid` has split them
VISION_COUNTS = ("num_images", "num_tiles")  # not read by a model
VISION_KEYS = (
    *("pixel_values", "image_grid_thw", "pixel_attention_mask", "spatial_shapes", "image_sizes", "image_position_ids"),
    *VISION_COUNTS,
)


@dataclass
class Rollout:
    """One prompt with one completion, without padding."""

    row: int | None  # index in the generation over all processes; `None` for a filler, which counts nowhere
    prompt_ids: torch.Tensor  # (P,)
    completion_ids: torch.Tensor  # (C,)
    mask: torch.Tensor  # (C,), 1 where a completion token counts (completion mask × tool mask)
    token_types: dict[str, torch.Tensor] = field(default_factory=dict)  # (P + C,) each
    vision: dict[str, Any] = field(default_factory=dict)  # image tensors, leading dimension as in TRL's batch; counts
    old_per_token_logps: torch.Tensor | None = None  # (C,), under the policy that generated
    ref_per_token_logps: torch.Tensor | None = None  # (C,), under the reference model
    sampling_per_token_logps: torch.Tensor | None = None  # (C,), from the engine that sampled; NaN if unknown
    prompt_key: int = field(kw_only=True)  # the same for rollouts with the same prompt, on every process

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)

    def filler(self) -> "Rollout":
        """The same tokens, none of which counts: lets a process without rows join the collectives of a micro-step."""
        return replace(
            self, row=None, mask=torch.zeros_like(self.mask), old_per_token_logps=None, ref_per_token_logps=None
        )

    def moved(self, device: torch.device) -> "Rollout":
        """A copy there that shares no storage with the padded batch: pickling a view would send all of it."""
        return replace(self, **{item.name: _moved(getattr(self, item.name), device) for item in fields(self)})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    return value.to(device).clone() if isinstance(value, torch.Tensor) else value


def unpad(batch: dict[str, Any], first_row: int) -> list[Rollout]:
    """The rollouts of this process, numbered from `first_row`, from TRL's padded batch."""
    batch = split_pixel_values_by_grid(batch)
    width = batch["prompt_ids"].size(1)
    prompt_lengths = batch["prompt_mask"].sum(1).tolist()
    # 0 for a truncated completion that TRL removed with its mask: its length is not known any more
    completion_lengths = batch["completion_mask"].sum(1).tolist()
    mask = batch["completion_mask"] * batch["tool_mask"] if "tool_mask" in batch else batch["completion_mask"]
    prompts = batch["prompt_ids"].cpu().numpy()
    kinds = {key: batch[key] for key in TOKEN_TYPE_KEYS if key in batch}
    sampling, rollouts = batch.get("sampling_per_token_logps"), []
    for index, (prompt, completion) in enumerate(zip(prompt_lengths, completion_lengths, strict=True)):
        if prompt == 0:
            raise ValueError(
                f"The prompt of rollout {first_row + index} has no tokens, so nothing predicts the first token of its "
                "completion. Give every row of the data set a prompt that is not empty."
            )
        vision = {key: _entry(batch[key], index) for key in VISION_KEYS if batch.get(key) is not None}
        # The forward needs one position, even if it does not count; with images it needs the positions of all
        completion = completion or (batch["completion_ids"].size(1) if vision else 1)
        rollouts.append(
            Rollout(
                row=first_row + index,
                prompt_ids=batch["prompt_ids"][index, width - prompt :],
                completion_ids=batch["completion_ids"][index, :completion],
                mask=mask[index, :completion],
                token_types={key: types[index, width - prompt : width + completion] for key, types in kinds.items()},
                vision=vision,
                prompt_key=_key(prompts[index, width - prompt :]),
                sampling_per_token_logps=None if sampling is None else sampling[index, :completion],
            )
        )
    return rollouts


def _key(prompt_ids: np.ndarray) -> int:
    """A 64-bit hash, the same on every process."""
    return int.from_bytes(blake2b(prompt_ids.tobytes(), digest_size=8).digest(), "big", signed=True)


def _entry(values: torch.Tensor | list[Any], index: int) -> Any:
    """One rollout's part, with the leading dimension that concatenation needs."""
    return values[index : index + 1] if isinstance(values, torch.Tensor) else values[index]


def token_counts(rollouts: list[Rollout]) -> torch.Tensor:
    """Prompt tokens, completion tokens, and completion tokens that count, of every rollout: `(B, 3)`."""
    counted = torch.stack([rollout.mask.sum() for rollout in rollouts])
    lengths = [[len(rollout.prompt_ids), len(rollout.completion_ids)] for rollout in rollouts]
    return torch.cat([torch.tensor(lengths, device=counted.device), counted[:, None]], dim=1)


def exchange(
    rollouts: list[Rollout], wanted: Sequence[Iterable[int]], process: int, device: torch.device
) -> dict[int, Rollout]:
    """
    The rollouts that this process runs, by row, from those that it generated; only those that change process travel,
    to this device. `wanted` has the rows that each process runs, the same on every process.
    """
    mine = set(wanted[process])
    held = {rollout.row: rollout for rollout in rollouts if rollout.row in mine}
    if len(wanted) > 1:
        elsewhere = {row for other, rows in enumerate(wanted) if other != process for row in rows}
        outgoing = [rollout.moved(torch.device("cpu")) for rollout in rollouts if rollout.row in elsewhere]
        held |= {rollout.row: rollout.moved(device) for rollout in gather_object(outgoing) if rollout.row in mine}
    return held


def gathered(accelerator: Accelerator, tensor: torch.Tensor) -> torch.Tensor:
    """The tensors of all processes, concatenated."""
    return cast(torch.Tensor, accelerator.gather(tensor))


def summed(accelerator: Accelerator, tensor: torch.Tensor) -> torch.Tensor:
    """The sum of the tensors of all processes."""
    return cast(torch.Tensor, accelerator.reduce(tensor, reduction="sum"))
