"""Attention of rows that begin with the tokens of another one, which are computed once.

In: queries, keys and values of all segments of a forward, one after another. Out: each segment, which attends to its own
tokens and, where it continues a prefix, to all of that. Left out: which rollouts share a prefix (`prefixes.py`).
"""

from typing import Any

import torch
from torch import nn
from torch.nn.attention.bias import causal_lower_right

from ..compat import sdpa_attention_forward


def behind_prefixes(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    row_lengths: list[int],
    prefix_of: list[int],
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """
    Transformers' SDPA on one segment after another, each behind its prefix.

    Args:
        query, key, value (`torch.Tensor` of shape `(1, heads, N, head_dim)`):
            Of all segments, one after another.
        row_lengths (`list[int]`):
            Tokens of every segment, adding up to N.
        prefix_of (`list[int]`):
            The segment that each one continues, itself where it continues none.

    Returns:
        `tuple`: output of shape `(1, N, heads, head_dim)`, and no attention weights.
    """
    queries, keys, values = (tensor.split(row_lengths, dim=2) for tensor in (query, key, value))
    outputs = []
    for segment, prefix in enumerate(prefix_of):
        row, mask = (keys[segment], values[segment]), None
        if prefix != segment:
            row = tuple(torch.cat([tensors[prefix], tensors[segment]], dim=2) for tensors in (keys, values))
            # SDPA's own causal mask lets the first query see the first key alone; here it sees the whole prefix
            mask = causal_lower_right(row_lengths[segment], row_lengths[prefix] + row_lengths[segment])
        outputs.append(sdpa_attention_forward(module, queries[segment], *row, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1), None
