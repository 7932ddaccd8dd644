"""Attention of rows that begin with the tokens of another one, which are computed once.

In: queries, keys and values of all segments of a forward, one after another. Out: each segment, which attends to its
own tokens and, where it continues a prefix, to all of that. Left out: which rollouts share a prefix (`prefixes.py`).
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.attention.bias import causal_lower_right

from ..compat import sdpa_attention_forward


@dataclass(eq=False)
class Prefixes:
    """
    The segments of a forward.

    Args:
        lengths (`list[int]`):
            Tokens of every segment.
        of (`list[int]`):
            The segment that each one continues, itself where it continues none.
    """

    lengths: list[int]
    of: list[int]
    _mask: torch.Tensor | None = field(default=None, init=False)
    _longest: int = field(default=0, init=False)  # prefix, in tokens

    def mask(self, segment: int, query: torch.Tensor) -> torch.Tensor:
        """
        What the tokens of a segment see of its prefix and itself.

        SDPA's own causal mask lets the first query see the first key alone; here it sees the whole prefix.
        """
        length, prefix = self.lengths[segment], self.lengths[self.of[segment]]
        if query.is_cuda:  # kernels that need no mask in memory
            return causal_lower_right(length, prefix + length)
        if self._mask is None or self._mask.dtype != query.dtype:  # one for all layers and segments
            continued = [(at, of) for at, of in enumerate(self.of) if at != of]
            self._longest = max(self.lengths[of] for _, of in continued)
            rows = max(self.lengths[at] for at, _ in continued)
            hidden = torch.ones(rows, self._longest + rows, dtype=torch.bool).triu(self._longest + 1)
            self._mask = torch.zeros(hidden.shape, dtype=query.dtype).masked_fill(hidden, -torch.inf)
        return self._mask[:length, self._longest - prefix : self._longest + length]


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
    queries, keys, values = (tensor.split(prefixes.lengths, dim=2) for tensor in (query, key, value))
    outputs = []
    for segment, prefix in enumerate(prefixes.of):
        row, mask = (keys[segment], values[segment]), None
        if prefix != segment:
            row = tuple(torch.cat([tensors[prefix], tensors[segment]], dim=2) for tensors in (keys, values))
            mask = prefixes.mask(segment, query)
        outputs.append(sdpa_attention_forward(module, queries[segment], *row, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1), None
