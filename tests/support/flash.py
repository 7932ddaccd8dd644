"""
FlashAttention's two functions by their formula: they stand for the kernel, which needs a GPU, behind all that
Transformers does on the way to it.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, modeling_flash_attention_utils, modeling_utils
from transformers.integrations import hub_kernels

from tests.support.tiny import tiny_model


NAME = "flash_attention_2"


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    first_to_first: bool = False,
) -> torch.Tensor:
    """
    Rows `(tokens, heads, head_dim)`, each by itself; query i of n sees key j of m if j <= i + m - n.

    `first_to_first` has the mask of FlashAttention before 2.1: j <= i.
    """
    assert not dropout_p  # it is never shared under dropout
    assert q.dtype == k.dtype == v.dtype, "which the kernel asks for"
    outputs = []
    queries, keys = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    assert max_seqlen_q == max(end - start for start, end in zip(queries, queries[1:], strict=False))
    assert max_seqlen_k == max(end - start for start, end in zip(keys, keys[1:], strict=False))
    for row in range(len(queries) - 1):
        asks, (seen, values) = (
            q[queries[row] : queries[row + 1]],
            (each[keys[row] : keys[row + 1]].repeat_interleave(q.size(1) // k.size(1), dim=1) for each in (k, v)),
        )
        scores = torch.einsum("ihd,jhd->hij", asks, seen) * (softmax_scale or q.size(-1) ** -0.5)
        n, m = scores.shape[1:]
        if causal:
            last = torch.arange(n)[:, None] + (0 if first_to_first else m - n)
            scores = scores.masked_fill(torch.arange(m) > last, -torch.inf)
        outputs.append(torch.einsum("hij,jhd->ihd", scores.softmax(-1), values))
    return torch.cat(outputs)


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """Batches `(rows, tokens, heads, head_dim)`, all rows of one length."""
    ends = [torch.arange(each.size(0) + 1) * each.size(1) for each in (q, k)]
    rows = (each.flatten(0, 1) for each in (q, k, v))
    return flash_attn_varlen_func(*rows, *ends, q.size(1), k.size(1), dropout_p, softmax_scale, causal).view_as(q)


def install(patch: pytest.MonkeyPatch, varlen: Callable[..., torch.Tensor] = flash_attn_varlen_func) -> None:
    """Transformers finds these where it looks for the package flash-attn."""
    module: Any = modeling_flash_attention_utils
    functions = (flash_attn_func, varlen, None, module._pad_input, module._unpad_input)
    patch.setattr(module, "_lazy_imports", lambda *args, **kwargs: functions)
    patch.setattr(module, "_loaded_implementation", None)


def install_from_hub(patch: pytest.MonkeyPatch) -> set[str]:
    """Transformers finds them in every repository of the hub, as with the package kernels; those it asked for."""
    asked = set()

    def get_kernel(repository: str, **kwargs: Any) -> SimpleNamespace:
        asked.add(repository)
        return SimpleNamespace(flash_attn_func=flash_attn_func, flash_attn_varlen_func=flash_attn_varlen_func)

    patch.setattr(hub_kernels, "get_kernel", get_kernel)
    for module in (hub_kernels, modeling_utils):
        patch.setattr(module, "is_kernels_available", lambda: True)
    patch.setattr(modeling_flash_attention_utils, "_loaded_implementation", None)
    return asked


def flash_model(**options: Any) -> PreTrainedModel:
    """The tiny model as on a machine that has FlashAttention."""
    model = tiny_model(**options)
    model.config._attn_implementation = NAME
    return model
