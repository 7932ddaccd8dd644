"""Prompts computed once: the rollouts of one prompt lie behind it in a packed forward and attend to it.

In: rollouts, of which some have the same prompt. Out: `SharedBatch`, in which a prompt but for its last token is one
segment and each of its rollouts another that continues it; and why a model cannot be run so. A rollout forks one
token before its prompt ends, since the last one predicts another token in each. Left out: the attention
(`prefix_attention.py`), when it pays (`sharing.py`).
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from .micro_batches import PackedBatch, pack_rollouts
from .packing import is_flash
from .rollouts import Rollout
from .sharing import by_prompt


@dataclass
class SharedBatch(PackedBatch):
    """
    Rollouts without padding, those of one prompt behind it.

    Args:
        row_lengths (`list[int]`):
            Tokens of every segment: a prefix, the rest of a rollout, or a whole one.
        prefix_of (`list[int]`):
            The segment that each one continues, itself where it continues none.
        segments (`list[int]`):
            The last segment of each of the B rollouts.
    """

    prefix_of: list[int]
    segments: list[int]

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Each rollout's part of `(N, ...)` values, its prefix included."""
        parts = values.split(self.row_lengths)
        begins = ([parts[self.prefix_of[at]]] if self.prefix_of[at] != at else [] for at in self.segments)
        return [torch.cat([*begin, parts[at]]) for begin, at in zip(begins, self.segments, strict=True)]


def share_prompts(rollouts: list[Rollout], pad_token_id: int, pad_to_multiple_of: int | None = None) -> SharedBatch:
    """Put the rollouts behind their prompts, as [`pack_rollouts`] does one after another."""
    pieces: list[Rollout] = []
    starts, prefix_of, segments, ordered = [], [], [], []
    for family in by_prompt(rollouts, lambda rollout: rollout.prompt_key):
        prompt = family[0].prompt_ids
        cut = len(prompt) - 1 if len(family) > 1 else 0
        prefix = len(pieces)
        if cut:
            nothing = family[0].completion_ids[:0]
            pieces.append(replace(family[0], prompt_ids=prompt[:cut], completion_ids=nothing, mask=nothing))
            prefix_of.append(prefix)
            starts.append(0)
        for rollout in family:
            segments.append(len(pieces))
            prefix_of.append(prefix if cut else len(pieces))
            starts.append(cut)
            pieces.append(replace(rollout, prompt_ids=rollout.prompt_ids[cut:]))
            ordered.append(rollout)
    packed = pack_rollouts(pieces, pad_token_id, pad_to_multiple_of)
    for at in range(len(pieces), len(packed.row_lengths)):  # a row that rounds N up
        prefix_of.append(at)
        starts.append(0)
    positions = [torch.arange(start, start + length) for start, length in zip(starts, packed.row_lengths, strict=True)]
    return SharedBatch(
        rollouts=ordered,
        mask=packed.mask[segments],
        columns=packed.columns[segments],
        input_ids=packed.input_ids,
        position_ids=torch.cat(positions)[None].to(packed.input_ids.device),
        shift_labels=packed.shift_labels,
        row_lengths=packed.row_lengths,
        prefix_of=prefix_of,
        segments=segments,
    )


def obstacle(model: nn.Module, attention_dropout: bool = False) -> str | None:
    """Why prompts of this model cannot be shared where its rows can be packed, as far as its settings tell."""
    config = model.config.get_text_config()
    if config is not model.config:
        return "the model also reads images"
    if (implementation := config._attn_implementation) != "sdpa" and not is_flash(implementation):
        return f"attn_implementation is {implementation}, not sdpa or flash_attention_2"
    if getattr(model, "_is_stateful", False):
        return "it carries a state from token to token"
    kinds = getattr(config, "layer_types", None)
    window = kinds is None and getattr(config, "sliding_window", None) is not None
    if window or set(kinds or ()) - {"full_attention"}:
        return "not every layer attends to the whole row"
    if any(name.endswith("sinks") for name, _ in model.named_parameters()):
        return "it has attention sinks"
    return "dropout would be the same for all rollouts of a prompt" if attention_dropout else None
