"""A generation batch as single rollouts without padding, and their exchange between processes.

In: the padded batch that TRL's `_generate_and_score_completions` returns on this process.
Out: the rollouts that this process runs, ready to be laid out for a forward (`layouts.py`).

Legend: B rollouts, P prompt tokens, C completion tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from ..compat import split_pixel_values_by_grid


# Tensors of TRL's batch with one column per token of prompt + completion
TOKEN_TYPE_KEYS = ("token_type_ids", "mm_token_type_ids")
# Vision tensors and counts, one entry per rollout once TRL's `split_pixel_values_by_grid` has split them
VISION_KEYS = (
    "pixel_values",
    "image_grid_thw",
    "pixel_attention_mask",
    "spatial_shapes",
    "image_sizes",
    "image_position_ids",
    "num_images",
    "num_tiles",
)
VISION_COUNTS = ("num_images", "num_tiles")  # of the above: no tensor that a model reads


@dataclass
class Rollout:
    """
    One prompt with one completion, without padding.

    Args:
        row (`int` or `None`):
            Index in the generation over all processes, or `None` for a filler, which has no gradient and is in no
            count.
        prompt_ids (`torch.Tensor` of shape `(P,)`), completion_ids (`torch.Tensor` of shape `(C,)`):
            Token ids.
        mask (`torch.Tensor` of shape `(C,)`):
            1 where a completion token counts (completion mask × tool mask).
        token_types (`dict`):
            Token types over prompt and completion, each of shape `(P + C,)`.
        vision (`dict`):
            Image tensors (leading dimension as in TRL's batch) and counts of this rollout.
        old_per_token_logps, ref_per_token_logps (`torch.Tensor` of shape `(C,)`, *optional*):
            Log-probabilities under the policy at generation, and under the reference model.
        sampling_per_token_logps (`torch.Tensor` of shape `(C,)`, *optional*):
            What the engine that sampled the completion gave; NaN where it gave none.
        prompt_key (`int`):
            The same for rollouts with the same prompt, on every process.
    """

    row: int | None
    prompt_ids: torch.Tensor
    completion_ids: torch.Tensor
    mask: torch.Tensor
    token_types: dict[str, torch.Tensor] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    old_per_token_logps: torch.Tensor | None = None
    ref_per_token_logps: torch.Tensor | None = None
    sampling_per_token_logps: torch.Tensor | None = None
    prompt_key: int = field(kw_only=True)

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)

    def filler(self) -> "Rollout":
        """The same tokens with none that counts: lets a process without rows join the collectives of a micro-step."""
        return replace(
            self, row=None, mask=torch.zeros_like(self.mask), old_per_token_logps=None, ref_per_token_logps=None
        )


def unpad(batch: dict[str, Any], first_row: int) -> list[Rollout]:
    """The rollouts of this process, numbered from `first_row`, from TRL's padded batch."""
    batch = split_pixel_values_by_grid(batch)
    width = batch["prompt_ids"].size(1)
    prompt_lengths = batch["prompt_mask"].sum(1).tolist()
    # TRL takes a truncated completion out by a mask that is all zero, so its length is not known any more
    completion_lengths = batch["completion_mask"].sum(1).tolist()
    mask = batch["completion_mask"] * batch["tool_mask"] if "tool_mask" in batch else batch["completion_mask"]
    prompts = batch["prompt_ids"].cpu().numpy()
    sampling, rollouts = batch.get("sampling_per_token_logps"), []
    for index, (prompt, completion) in enumerate(zip(prompt_lengths, completion_lengths, strict=True)):
        if prompt == 0:
            raise ValueError(
                f"The prompt of rollout {first_row + index} has no tokens, so nothing predicts the first one of its "
                "completion. Give every row of the data set a prompt that is not empty."
            )
        vision = {key: _entry(batch[key], index) for key in VISION_KEYS if batch.get(key) is not None}
        # The forward needs one position, which the mask says does not count; with images it needs the places of all
        completion = completion or (batch["completion_ids"].size(1) if vision else 1)
        rollouts.append(
            Rollout(
                row=first_row + index,
                prompt_ids=batch["prompt_ids"][index, width - prompt :],
                completion_ids=batch["completion_ids"][index, :completion],
                mask=mask[index, :completion],
                token_types={
                    key: batch[key][index, width - prompt : width + completion]
                    for key in TOKEN_TYPE_KEYS
                    if key in batch
                },
                vision=vision,
                prompt_key=_key(prompts[index, width - prompt :]),
                sampling_per_token_logps=None if sampling is None else sampling[index, :completion],
            )
        )
    return rollouts


def _key(prompt_ids: np.ndarray) -> int:
    """A number of 64 bits that another prompt does not have, the same on every process."""
    return int.from_bytes(blake2b(prompt_ids.tobytes(), digest_size=8).digest(), "big", signed=True)


def token_counts(rollouts: list[Rollout]) -> torch.Tensor:
    """Prompt tokens, completion tokens, and completion tokens that count, of every rollout: `(B, 3)`."""
    counted = torch.stack([rollout.mask.sum() for rollout in rollouts])
    lengths = [[len(rollout.prompt_ids), len(rollout.completion_ids)] for rollout in rollouts]
    return torch.cat([torch.tensor(lengths, device=counted.device), counted[:, None]], dim=1)


def _entry(values: torch.Tensor | list[Any], index: int) -> Any:
    """One rollout's part, with the leading dimension that concatenation needs."""
    return values[index : index + 1] if isinstance(values, torch.Tensor) else values[index]


def exchange(
    rollouts: list[Rollout], wanted: Sequence[Iterable[int]], process: int, device: torch.device
) -> dict[int, Rollout]:
    """
    Give every process the rollouts it runs; only those that change process travel.

    Args:
        rollouts (`list[Rollout]`):
            The rollouts generated on this process.
        wanted (`Sequence[Iterable[int]]`):
            Rows that each process runs, the same on every process.
        process (`int`):
            Index of this process.
        device (`torch.device`):
            Where incoming tensors go.

    Returns:
        `dict[int, Rollout]`: The rollouts that this process runs, by row.
    """
    mine = set(wanted[process])
    held = {rollout.row: rollout for rollout in rollouts if rollout.row in mine}
    if len(wanted) == 1:
        return held
    elsewhere = {row for other, rows in enumerate(wanted) if other != process for row in rows}
    outgoing = [_to(rollout, torch.device("cpu")) for rollout in rollouts if rollout.row in elsewhere]
    for rollout in gather_object(outgoing):
        if rollout.row in mine:
            held[rollout.row] = _to(rollout, device)
    return held


def _to(rollout: Rollout, device: torch.device) -> Rollout:
    """A copy on that device that shares no storage with the padded batch (pickling a view would send all of it)."""

    def move(value: Any) -> Any:
        return value.to(device).clone() if isinstance(value, torch.Tensor) else value

    return replace(
        rollout,
        prompt_ids=move(rollout.prompt_ids),
        completion_ids=move(rollout.completion_ids),
        mask=move(rollout.mask),
        old_per_token_logps=move(rollout.old_per_token_logps),
        sampling_per_token_logps=move(rollout.sampling_per_token_logps),
        token_types={key: move(value) for key, value in rollout.token_types.items()},
        vision={key: move(value) for key, value in rollout.vision.items()},
    )
