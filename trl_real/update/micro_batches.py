"""Rollouts -> what one forward reads: rows packed one after another, or padded where the model needs that.

In: single rollouts (`rollouts.py`). Out: `PackedBatch` or `PaddedBatch`; what the loss computes with them has the
shape (B, C) in both. Which of the two a model can run, and its attention, is in `packing.py`.

Legend: B rollouts, P prompt tokens, C completion tokens of the longest, N tokens of all rollouts together.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ..compat import pad, unsplit_pixel_values_by_grid
from .rollouts import Rollout


IGNORED = -100  # label of a position whose next token is not scored


@dataclass
class MicroBatch:
    """
    The rollouts of one forward.

    Args:
        rollouts (`list[Rollout]`):
            The B rows.
        mask (`torch.Tensor` of shape `(B, C)`):
            1 where a completion token counts.
    """

    rollouts: list[Rollout]
    mask: torch.Tensor

    @property
    def rows(self) -> list[int | None]:
        """Row of every rollout, `None` for a filler."""
        return [rollout.row for rollout in self.rollouts]

    def padded(self, name: str) -> torch.Tensor:
        """Log-probabilities of that name as `(B, C)`, zero in the padding and for fillers."""
        values = [getattr(rollout, name) for rollout in self.rollouts]
        output = self.mask.new_zeros(self.mask.shape, dtype=torch.float32)
        for index, value in enumerate(values):
            if value is not None:
                output[index, : len(value)] = value
            elif self.rollouts[index].row is not None:
                raise RuntimeError(f"rollout {self.rollouts[index].row} has no {name}")
        return output

    def store(self, name: str, values: torch.Tensor) -> None:
        """Keep each row's part of `(B, C)` log-probabilities on its rollout."""
        for rollout, row in zip(self.rollouts, values, strict=True):
            setattr(rollout, name, row[: len(rollout.completion_ids)].detach())


@dataclass
class PaddedBatch(MicroBatch):
    """
    Rollouts padded to the longest prompt and the longest completion among them.

    Args:
        input_ids, attention_mask (`torch.Tensor` of shape `(B, P + C)`):
            Prompts padded on the left, completions on the right.
        forward_kwargs (`dict`):
            Token types and images, as TRL's forward takes them.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    forward_kwargs: dict[str, Any]

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Each rollout's part of `(B * (P + C), ...)` values, without the padding."""
        values = values.view(*self.input_ids.shape, *values.shape[1:])
        prompt_width = self.input_ids.size(1) - self.mask.size(1)
        starts = [prompt_width - len(rollout.prompt_ids) for rollout in self.rollouts]
        return [
            row[start : start + rollout.length]
            for row, start, rollout in zip(values, starts, self.rollouts, strict=True)
        ]


@dataclass
class PackedBatch(MicroBatch):
    """
    Rollouts one after another, without padding.

    Args:
        input_ids, position_ids (`torch.Tensor` of shape `(1, N)`):
            Tokens of all rollouts; positions restart at 0 with each.
        shift_labels (`torch.Tensor` of shape `(1, N)`):
            The next token where that is a completion token that counts, else -100.
        columns (`torch.Tensor` of shape `(B, C)`):
            Position, in N, that predicts each completion token; 0 in the padding.
        row_lengths (`list[int]`):
            Tokens of every row.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    shift_labels: torch.Tensor
    columns: torch.Tensor
    row_lengths: list[int]

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Each rollout's part of `(N, ...)` values."""
        return list(values.split(self.row_lengths))[: len(self.rollouts)]

    def unpack(self, values: torch.Tensor) -> torch.Tensor:
        """Per-position values `(1, N)` as `(B, C)`, zero where no token counts."""
        return values.flatten()[self.columns].masked_fill(self.mask == 0, 0.0)


@dataclass
class MicroStepBatch:
    """The forwards that a process runs before one backward."""

    batches: list[MicroBatch]

    @property
    def rows(self) -> list[int | None]:
        """Row of every rollout, `None` for a filler."""
        return [row for batch in self.batches for row in batch.rows]


def pack_rollouts(rollouts: list[Rollout], pad_token_id: int, pad_to_multiple_of: int | None = None) -> PackedBatch:
    """Put the rollouts one after another; `pad_to_multiple_of` rounds N up with one more row that nothing reads."""
    device, lengths = rollouts[0].prompt_ids.device, [rollout.length for rollout in rollouts]
    if rest := -sum(lengths) % (pad_to_multiple_of or 1):
        lengths.append(rest)
    ids = [part for rollout in rollouts for part in (rollout.prompt_ids, rollout.completion_ids)]
    ids.append(torch.full((rest,), pad_token_id, device=device))
    labels = [_labels(rollout) for rollout in rollouts]
    labels.append(torch.full((rest,), IGNORED, device=device))
    first = torch.tensor([0, *lengths]).cumsum(0)[: len(rollouts)]
    before = first + torch.tensor([len(rollout.prompt_ids) - 1 for rollout in rollouts])
    sizes = torch.tensor([len(rollout.completion_ids) for rollout in rollouts])
    offsets = torch.arange(int(sizes.max()))
    columns = (before[:, None] + offsets).masked_fill(offsets >= sizes[:, None], 0)
    return PackedBatch(
        rollouts=rollouts,
        mask=pad_sequence([rollout.mask for rollout in rollouts], batch_first=True),
        input_ids=torch.cat(ids)[None],
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        shift_labels=torch.cat(labels)[None],
        columns=columns.to(device),
        row_lengths=lengths,
    )


def _labels(rollout: Rollout) -> torch.Tensor:
    """The token that follows each of a rollout's, if it is in the completion and counts."""
    completion = rollout.completion_ids.masked_fill(rollout.mask == 0, IGNORED)
    ignored = completion.new_full((len(rollout.prompt_ids) - 1,), IGNORED)
    return torch.cat([ignored, completion, ignored.new_full((1,), IGNORED)])


def pad_rollouts(rollouts: list[Rollout], pad_token_id: int, pad_to_multiple_of: int | None = None) -> PaddedBatch:
    """Pad the rollouts to a micro-batch; `pad_to_multiple_of` rounds the prompt and the completion width up."""

    def left(tensors: list[torch.Tensor], value: int) -> torch.Tensor:
        return pad(tensors, value, "left", pad_to_multiple_of)

    def right(tensors: list[torch.Tensor], value: int) -> torch.Tensor:
        return pad(tensors, value, "right", pad_to_multiple_of)

    prompts = [rollout.prompt_ids for rollout in rollouts]
    completions = [rollout.completion_ids for rollout in rollouts]
    forward_kwargs = _collate_vision([rollout.vision for rollout in rollouts])
    for key in rollouts[0].token_types:
        types = [
            rollout.token_types[key].split([len(p), len(c)])
            for rollout, p, c in zip(rollouts, prompts, completions, strict=True)
        ]
        forward_kwargs[key] = torch.cat([left([t[0] for t in types], 0), right([t[1] for t in types], 0)], dim=1)
    return PaddedBatch(
        rollouts=rollouts,
        input_ids=torch.cat([left(prompts, pad_token_id), right(completions, pad_token_id)], dim=1),
        attention_mask=torch.cat(
            [left([torch.ones_like(p) for p in prompts], 0), right([torch.ones_like(c) for c in completions], 0)],
            dim=1,
        ),
        mask=right([rollout.mask for rollout in rollouts], 0),
        forward_kwargs=forward_kwargs,
    )


def _collate_vision(visions: list[dict[str, Any]]) -> dict[str, Any]:
    """Images of several rollouts in the layout of TRL's forward."""
    if not visions[0] or ("num_images" in visions[0] and not any(vision["num_images"] for vision in visions)):
        return {}
    batch: dict[str, Any] = {key: [vision[key] for vision in visions] for key in visions[0]}
    return unsplit_pixel_values_by_grid(batch)
