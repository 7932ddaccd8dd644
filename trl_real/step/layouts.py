"""Rollouts -> what one forward reads: packed one after another, behind prompts computed once, or padded.

The loss sees the same shape (B, C) in all three. Legend: B rollouts, C completion tokens of the longest completion,
L tokens of the longest rollout, N tokens of all rollouts together.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ..compat import pad, unsplit_pixel_values_by_grid
from .rollouts import VISION_COUNTS, Rollout
from .sharing import by_prompt


IGNORED = -100  # label of a position whose next token is not scored


@dataclass
class MicroBatch:
    """The rollouts of one forward."""

    rollouts: list[Rollout]  # the B rows
    mask: torch.Tensor  # (B, C), 1 where a completion token counts
    columns: torch.Tensor  # (B, C), where a flattened forward has the value that predicts the token; 0 in the padding
    input_ids: torch.Tensor  # tokens of all rows

    @property
    def rows(self) -> list[int | None]:
        """Row of every rollout, `None` for a filler."""
        return [rollout.row for rollout in self.rollouts]

    @property
    def model_inputs(self) -> dict[str, Any]:
        """What the model reads."""
        raise NotImplementedError

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Each rollout's part of the values of a forward, one for every token."""
        raise NotImplementedError

    def unpack(self, values: torch.Tensor) -> torch.Tensor:
        """The values of a forward for the next tokens as `(B, C)`, zero where no token counts."""
        return values.flatten()[self.columns].masked_fill(self.mask == 0, 0.0)

    def padded(self, name: str) -> torch.Tensor:
        """Log-probabilities of that name as `(B, C)`, zero in the padding and for fillers."""
        output = self.mask.new_zeros(self.mask.shape, dtype=torch.float32)
        for index, rollout in enumerate(self.rollouts):
            if (value := getattr(rollout, name)) is not None:
                output[index, : len(value)] = value
            elif rollout.row is not None:
                raise RuntimeError(f"rollout {rollout.row} has no {name}")
        return output

    def store(self, name: str, values: torch.Tensor) -> None:
        """Store each row's part of `(B, C)` log-probabilities on its rollout."""
        for rollout, row in zip(self.rollouts, values, strict=True):
            setattr(rollout, name, row[: len(rollout.completion_ids)].detach())


@dataclass
class PaddedBatch(MicroBatch):
    """
    Rollouts padded on the right to the longest among them.

    A row begins at the first column, as if alone: absolute positions, recurrent layers and virtual tokens depend on
    that.
    """

    attention_mask: torch.Tensor  # (B, L), 0 in the padding
    labels: torch.Tensor  # (B, L), the token itself where it is a completion token that counts, else -100
    extras: dict[str, Any]  # token types and images, as the model reads them

    @property
    def model_inputs(self) -> dict[str, Any]:
        """The model shifts the labels itself, since prompt learning puts others in front of them."""
        return dict(input_ids=self.input_ids, attention_mask=self.attention_mask, labels=self.labels) | self.extras

    def unpack(self, values: torch.Tensor) -> torch.Tensor:
        """Values `(B, L - 1)` of the next tokens, or more with virtual tokens in front, as `(B, C)`."""
        return super().unpack(values[:, 1 - self.input_ids.size(1) :])

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Each rollout's part of `(B * L, ...)` values, without padding and virtual tokens."""
        values = values.view(len(self.rollouts), -1, *values.shape[1:])[:, -self.input_ids.size(1) :]
        return [row[: rollout.length] for row, rollout in zip(values, self.rollouts, strict=True)]


@dataclass
class PackedBatch(MicroBatch):
    """Rollouts one after another, without padding."""

    position_ids: torch.Tensor  # (1, N), restart at 0 with every rollout
    shift_labels: torch.Tensor  # (1, N), the next token where that is a completion token that counts, else -100
    row_lengths: list[int]  # tokens of every row

    @property
    def model_inputs(self) -> dict[str, Any]:
        """Without the ends of the rows, which the attention reads."""
        return dict(input_ids=self.input_ids, position_ids=self.position_ids, shift_labels=self.shift_labels)

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Each rollout's part of `(N, ...)` values."""
        return list(values.split(self.row_lengths))[: len(self.rollouts)]


@dataclass
class SharedBatch(PackedBatch):
    """
    Rollouts without padding, those with a common prompt behind one copy of it. Every row is a segment: a prefix, the
    rest of a rollout, or an entire one.
    """

    prefix_of: list[int]  # the segment that each one continues; itself if it continues none
    segments: list[int]  # the last segment of each of the B rollouts

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Each rollout's part of `(N, ...)` values, its prefix included."""
        parts = values.split(self.row_lengths)
        begins = ([parts[self.prefix_of[at]]] if self.prefix_of[at] != at else [] for at in self.segments)
        return [torch.cat([*begin, parts[at]]) for begin, at in zip(begins, self.segments, strict=True)]


@dataclass
class MicroStepBatch:
    """The forwards that a process runs in one micro-step."""

    batches: list[MicroBatch]  # one per forward
    one_per_backward: bool = False  # each has its own backward

    @property
    def backwards(self) -> list["MicroStepBatch"]:
        """The forwards before each backward."""
        return [MicroStepBatch([batch]) for batch in self.batches] if self.one_per_backward else [self]

    @property
    def rows(self) -> list[int | None]:
        """Row of every rollout, `None` for a filler."""
        return [row for batch in self.batches for row in batch.rows]


def pack_rollouts(rollouts: list[Rollout], pad_token_id: int, pad_to_multiple_of: int | None = None) -> PackedBatch:
    """Put the rollouts one after another; `pad_to_multiple_of` rounds N up with an additional row, which is unused."""
    device, lengths = rollouts[0].prompt_ids.device, [rollout.length for rollout in rollouts]
    if rest := -sum(lengths) % (pad_to_multiple_of or 1):
        lengths.append(rest)
    labels = [_labels(rollout).roll(-1) for rollout in rollouts]  # the first of a rollout is never scored
    return PackedBatch(
        rollouts=rollouts,
        mask=pad_sequence([rollout.mask for rollout in rollouts], batch_first=True),
        columns=_columns(rollouts, torch.tensor([0, *lengths]).cumsum(0)[: len(rollouts)]),
        input_ids=torch.cat([*map(_ids, rollouts), torch.full((rest,), pad_token_id, device=device)])[None],
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        shift_labels=torch.cat([*labels, torch.full((rest,), IGNORED, device=device)])[None],
        row_lengths=lengths,
    )


def share_prompts(rollouts: list[Rollout], pad_token_id: int, pad_to_multiple_of: int | None = None) -> SharedBatch:
    """Put the rollouts behind their prompts, as [`pack_rollouts`] does one after another."""
    families = by_prompt(rollouts, lambda rollout: rollout.prompt_key)
    pieces: list[Rollout] = []
    prefix_of, segments = [], []
    for family in families:
        prompt = family[0].prompt_ids
        cut = len(prompt) - 1 if len(family) > 1 else 0
        prefix = len(pieces)
        if cut:
            nothing = family[0].completion_ids[:0]
            pieces.append(replace(family[0], prompt_ids=prompt[:cut], completion_ids=nothing, mask=nothing))
            prefix_of.append(prefix)
        for rollout in family:
            segments.append(len(pieces))
            prefix_of.append(prefix if cut else len(pieces))
            pieces.append(replace(rollout, prompt_ids=rollout.prompt_ids[cut:]))
    packed = pack_rollouts(pieces, pad_token_id, pad_to_multiple_of)
    lengths = packed.row_lengths
    prefix_of += range(len(pieces), len(lengths))  # a row that rounds N up
    starts = [lengths[of] if of != at else 0 for at, of in enumerate(prefix_of)]
    positions = [torch.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    return SharedBatch(
        rollouts=[rollout for family in families for rollout in family],
        mask=packed.mask[segments],
        columns=packed.columns[segments],
        input_ids=packed.input_ids,
        position_ids=torch.cat(positions)[None].to(packed.input_ids.device),
        shift_labels=packed.shift_labels,
        row_lengths=lengths,
        prefix_of=prefix_of,
        segments=segments,
    )


def pad_rollouts(rollouts: list[Rollout], pad_token_id: int, pad_to_multiple_of: int | None = None) -> PaddedBatch:
    """Pad the rollouts to the longest; `pad_to_multiple_of` rounds its length up."""

    def right(tensors: list[torch.Tensor], value: int) -> torch.Tensor:
        return pad(tensors, value, "right", pad_to_multiple_of)

    input_ids = right([_ids(rollout) for rollout in rollouts], pad_token_id)
    token_types = {
        key: right([rollout.token_types[key] for rollout in rollouts], 0) for key in rollouts[0].token_types
    }
    return PaddedBatch(
        rollouts=rollouts,
        mask=pad_sequence([rollout.mask for rollout in rollouts], batch_first=True),
        columns=_columns(rollouts, torch.arange(len(rollouts)) * (input_ids.size(1) - 1)),
        input_ids=input_ids,
        attention_mask=right([torch.ones_like(_ids(rollout)) for rollout in rollouts], 0),
        labels=right([_labels(rollout) for rollout in rollouts], IGNORED),
        extras=token_types | _collate_vision([rollout.vision for rollout in rollouts]),
    )


def _ids(rollout: Rollout) -> torch.Tensor:
    return torch.cat([rollout.prompt_ids, rollout.completion_ids])


def _labels(rollout: Rollout) -> torch.Tensor:
    """The tokens of a rollout, -100 in the prompt and where they do not count."""
    completion = rollout.completion_ids.masked_fill(rollout.mask == 0, IGNORED)
    return torch.cat([torch.full_like(rollout.prompt_ids, IGNORED), completion])


def _columns(rollouts: list[Rollout], starts: torch.Tensor) -> torch.Tensor:
    """Index of the value that predicts each completion token (B, C); a rollout's values begin at its start (B,)."""
    before = starts + torch.tensor([len(rollout.prompt_ids) - 1 for rollout in rollouts])
    sizes = torch.tensor([len(rollout.completion_ids) for rollout in rollouts])
    offsets = torch.arange(int(sizes.max()))
    columns = (before[:, None] + offsets).masked_fill(offsets >= sizes[:, None], 0)
    return columns.to(rollouts[0].prompt_ids.device)


def _collate_vision(visions: list[dict[str, Any]]) -> dict[str, Any]:
    """Images of several rollouts, as the model reads them."""
    if not visions[0] or ("num_images" in visions[0] and not any(vision["num_images"] for vision in visions)):
        return {}
    batch: dict[str, Any] = {key: [vision[key] for vision in visions] for key in visions[0]}
    return {key: values for key, values in unsplit_pixel_values_by_grid(batch).items() if key not in VISION_COUNTS}
