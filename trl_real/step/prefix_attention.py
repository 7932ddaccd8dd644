"""Attention of rows that begin with the tokens of another one, which are computed once.

In: queries, keys and values of all segments of a forward, one after another. Out: each segment, which attends to its
own tokens and, where it continues a prefix, to all of that: under SDPA one segment after another, under FlashAttention
all in one call. Left out: which rollouts share a prefix (`layouts.py`).
"""

from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface

from ..compat import sdpa_attention_forward


# What FlashAttention's name begins with while prefixes are shared; behind it, Transformers finds the kernel
PREFIXED = "trl_real_"


class Prefixes:
    """
    The segments of a forward; not a dataclass, of which FSDP would hand every layer a copy of its own.

    Args:
        lengths (`list[int]`):
            Tokens of every segment.
        of (`list[int]`):
            The segment that each one continues, itself where it continues none.
    """

    def __init__(self, lengths: list[int], of: list[int]):
        self.lengths, self.of = lengths, of
        self._mask: torch.Tensor | None = None
        self._longest = 0  # prefix, in tokens
        self._ends: torch.Tensor | None = None

    @cached_property
    def seen(self) -> list[int]:
        """Keys that the last token of every segment sees: those of its prefix, and its own."""
        pairs = zip(self.lengths, self.of, strict=True)
        return [length + (self.lengths[of] if of != at else 0) for at, (length, of) in enumerate(pairs)]

    def ends(self, device: torch.device) -> torch.Tensor:
        """Where the keys of every segment end, beginning with 0, as FlashAttention takes them; once for all layers."""
        if self._ends is None or self._ends.device != device:
            self._ends = torch.tensor([0, *accumulate(self.seen)], dtype=torch.int32).to(device)
        return self._ends

    def put_before(self, tensor: torch.Tensor) -> torch.Tensor:
        """Keys or values `(1, heads, N, head_dim)` of every segment behind those of its prefix, one after another."""
        parts = tensor.split(self.lengths, dim=2)
        pairs = ([parts[of], parts[at]] if of != at else [parts[at]] for at, of in enumerate(self.of))
        return torch.cat([part for pair in pairs for part in pair], dim=2)

    def mask(self, segment: int, query: torch.Tensor) -> torch.Tensor:
        """
        What the tokens of a segment see of its prefix and itself.

        SDPA's own causal mask lets the first query see the first key alone; here it sees the whole prefix.
        """
        length, prefix = self.lengths[segment], self.lengths[self.of[segment]]
        if has_causal_kernels(query.device):
            return causal_lower_right(length, prefix + length)
        if self._mask is None or self._mask.dtype != query.dtype:  # one for all layers and segments
            continued = [(at, of) for at, of in enumerate(self.of) if at != of]
            self._longest = max(self.lengths[of] for _, of in continued)
            rows = max(self.lengths[at] for at, _ in continued)
            hidden = torch.ones(rows, self._longest + rows, dtype=torch.bool).triu(self._longest + 1)
            self._mask = torch.zeros(hidden.shape, dtype=query.dtype).masked_fill(hidden, -torch.inf)
        return self._mask[:length, self._longest - prefix : self._longest + length]


def has_causal_kernels(device: torch.device) -> bool:
    """Whether SDPA has kernels there that need no mask in memory."""
    return device.type == "cuda"


def behind_prefixes(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    prefixes: Prefixes,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """
    Transformers' SDPA on one segment after another, each behind its prefix.

    Args:
        query, key, value (`torch.Tensor` of shape `(1, heads, N, head_dim)`):
            Of all segments, one after another.
        prefixes ([`Prefixes`]):
            The segments, adding up to N tokens.

    Returns:
        `tuple`: output of shape `(1, N, heads, head_dim)`, and no attention weights.
    """
    if torch.is_autocast_enabled(kind := query.device.type):  # which does not reach SDPA behind `causal_lower_right`
        query, key, value = (tensor.to(torch.get_autocast_dtype(kind)) for tensor in (query, key, value))
    queries, keys, values = (tensor.split(prefixes.lengths, dim=2) for tensor in (query, key, value))
    outputs = []
    for segment, prefix in enumerate(prefixes.of):
        row, mask = (keys[segment], values[segment]), None
        if prefix != segment:
            row = tuple(torch.cat([tensors[prefix], tensors[segment]], dim=2) for tensors in (keys, values))
            mask = prefixes.mask(segment, query)
        outputs.append(sdpa_attention_forward(module, queries[segment], *row, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1), None


def flash_behind_prefixes(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    prefixes: Prefixes | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """
    Transformers' FlashAttention on all segments at once, with more keys than queries where there is a prefix.

    Since FlashAttention 2.1 its causal mask lets the last query see the last key, which is what a segment needs.

    Args:
        query, key, value (`torch.Tensor` of shape `(1, heads, N, head_dim)`):
            Of all segments, one after another.
        attention_mask (`torch.Tensor`, *optional*):
            Unused: every segment is causal and without padding.
        cu_seq_lens_q (`torch.Tensor`):
            Where each segment ends, beginning with 0; without it Transformers would guess from positions.
        prefixes ([`Prefixes`], *optional*):
            The segments, adding up to N tokens; without them every row is whole.

    Returns:
        `tuple`: output of shape `(1, N, heads, head_dim)`, and no attention weights.
    """
    if prefixes is not None:
        kwargs |= dict(cu_seq_lens_k=prefixes.ends(query.device), max_length_k=max(prefixes.seen))
        key, value = (prefixes.put_before(tensor) for tensor in (key, value))
    config, named = module.config, module.config._attn_implementation
    kernel = named.removeprefix(PREFIXED)
    attend = AttentionInterface()[kernel]
    config._attn_implementation = kernel
    try:
        return attend(module, query, key, value, None, cu_seq_lens_q=cu_seq_lens_q, **kwargs)
    finally:
        config._attn_implementation = named
