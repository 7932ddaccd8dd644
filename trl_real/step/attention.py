"""Attention of rows one after another instead of padded: it stays within each row, or within a row and its prefix.

FlashAttention does that by itself, given the ends of the rows. SDPA and a model's own ("eager") attention are called
row by row, each row with its own window. Rows that begin with the tokens of another one, which are computed once, are
segments: each attends to its own tokens and, if it continues a prefix, to all of that.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface, PreTrainedModel

from ..compat import is_flash_attention_requested, sdpa_attention_forward


ROW_BY_ROW, EAGER_ROW_BY_ROW = "trl_real_row_by_row", "trl_real_eager_row_by_row"
BY_ROW = {"sdpa": ROW_BY_ROW, "eager": EAGER_ROW_BY_ROW}  # implementations while rows are packed
PREFIXED = "trl_real_"  # precedes FlashAttention's name while prefixes are shared; the rest names the kernel
# Models whose other layers pass the ends of rows to their kernels, or fail if a kernel is not installed; tests/zoo
# tests each
ENDS_TO_KERNELS = frozenset(
    "bamba falcon_h1 granitemoehybrid mamba2 nemotron_h olmo_hybrid qwen3_5_moe_text qwen3_5_text qwen3_next "
    "zamba2".split()
)

Output = tuple[Tensor, None]  # of shape (1, N, heads, head_dim); no attention weights


class Prefixes:
    """
    The segments of a forward: their lengths, and the segment that each one continues, itself if it continues none.

    Not a dataclass, of which FSDP would give every layer its own copy.
    """

    def __init__(self, lengths: list[int], of: list[int]):
        self.lengths, self.of = lengths, of
        self._mask: Tensor | None = None
        self._longest = 0  # prefix, in tokens
        self._ends: Tensor | None = None

    @cached_property
    def seen(self) -> list[int]:
        """Keys that the last token of every segment sees: those of its prefix, and its own."""
        pairs = zip(self.lengths, self.of, strict=True)
        return [length + (self.lengths[of] if of != at else 0) for at, (length, of) in enumerate(pairs)]

    def ends(self, device: torch.device) -> Tensor:
        """Where the keys of every segment end, beginning with 0, for FlashAttention; made once for all layers."""
        if self._ends is None or self._ends.device != device:
            self._ends = torch.tensor([0, *accumulate(self.seen)], dtype=torch.int32).to(device)
        return self._ends

    def put_before(self, tensor: Tensor) -> Tensor:
        """Keys or values `(1, heads, N, head_dim)` of every segment behind those of its prefix, one after another."""
        parts = tensor.split(self.lengths, dim=2)
        pairs = ([parts[of], parts[at]] if of != at else [parts[at]] for at, of in enumerate(self.of))
        return torch.cat([part for pair in pairs for part in pair], dim=2)

    def mask(self, segment: int, query: Tensor) -> Tensor:
        """What the tokens of a segment see: the entire prefix (SDPA's causal mask: its first key), then themselves."""
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


# Attention functions take queries, keys and values (1, heads, N, head_dim) of all rows, one after another. They ignore
# the attention mask: every row is causal and without padding.


def row_by_row(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    row_lengths: list[int] | None = None,
    prefixes: Prefixes | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> Output:
    """Transformers' SDPA on one row after another."""
    if prefixes is not None:
        return behind_prefixes(module, query, key, value, prefixes, **kwargs)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        slides = sliding_window is not None and query.size(2) > sliding_window
        mask = _sees(query, sliding_window)[None, None] if slides else None  # SDPA is causal, and faster, without one
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)[0]

    return _each_row(attend, (query, key, value), row_lengths), None


def eager_row_by_row(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    row_lengths: list[int] | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> Output:
    """The model's own attention, with its soft cap or its sinks, on one row after another."""
    own = _own_attention(module)

    def attend(*row: Tensor) -> Tensor:
        hidden = ~_sees(row[0], sliding_window)
        mask = torch.zeros_like(hidden, dtype=row[0].dtype).masked_fill(hidden, torch.finfo(row[0].dtype).min)
        return own(module, *row, mask[None, None], sliding_window=sliding_window, **kwargs)[0]

    return _each_row(attend, (query, key, value), row_lengths), None


def behind_prefixes(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, prefixes: Prefixes, **kwargs: Any
) -> Output:
    """Transformers' SDPA on one segment after another, each behind its prefix."""
    if torch.is_autocast_enabled(kind := query.device.type):  # which does not reach SDPA behind `causal_lower_right`
        query, key, value = (tensor.to(torch.get_autocast_dtype(kind)) for tensor in (query, key, value))
    queries, keys, values = (tensor.split(prefixes.lengths, dim=2) for tensor in (query, key, value))
    outputs = []
    for segment, prefix in enumerate(prefixes.of):
        row, mask = [keys[segment], values[segment]], None
        if prefix != segment:
            row = [torch.cat([tensors[prefix], tensors[segment]], dim=2) for tensors in (keys, values)]
            mask = prefixes.mask(segment, query)
        outputs.append(sdpa_attention_forward(module, queries[segment], row[0], row[1], mask, **kwargs)[0])
    return torch.cat(outputs, dim=1), None


def flash_behind_prefixes(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    prefixes: Prefixes | None = None,
    **kwargs: Any,
) -> Output:
    """
    Transformers' FlashAttention on all segments at once, with more keys than queries if there is a prefix.

    Since FlashAttention 2.1 its causal mask lets the last query see the last key, which is what a segment needs.
    Without `cu_seq_lens_q`, where each segment ends, Transformers would guess from positions.
    """
    if prefixes is not None:
        kwargs |= dict(cu_seq_lens_k=prefixes.ends(query.device), max_length_k=max(prefixes.seen))
        key, value = (prefixes.put_before(tensor) for tensor in (key, value))
    config: Any = module.config
    named = config._attn_implementation
    kernel = named.removeprefix(PREFIXED)
    attend = AttentionInterface()[kernel]
    config._attn_implementation = kernel
    try:
        return attend(module, query, key, value, None, cu_seq_lens_q=cu_seq_lens_q, **kwargs)
    finally:
        config._attn_implementation = named


def _each_row(attend: Callable[..., Tensor], tensors: tuple[Tensor, ...], row_lengths: list[int] | None) -> Tensor:
    """Attention of every row by itself; the outputs one after another."""
    if row_lengths is None:
        raise NotImplementedError("its layers do not tell the attention where rows end")
    if len(set(row_lengths)) == 1:  # a plain batch: one call, and no second copy of the output
        batch = (tensor[0].unflatten(1, (len(row_lengths), -1)).transpose(0, 1) for tensor in tensors)
        return attend(*batch).flatten(0, 1)[None]
    rows = zip(*(tensor.split(row_lengths, dim=2) for tensor in tensors), strict=True)
    return torch.cat([attend(*row) for row in rows], dim=1)


def _sees(query: Tensor, sliding_window: int | None) -> Tensor:
    """Which tokens (n, n) a token of a row sees: those up to itself, or only as many of them as the window has."""
    length = query.size(2)
    sees = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    return sees if sliding_window is None else sees.triu(1 - sliding_window)


def _own_attention(module: nn.Module) -> Callable[..., tuple[Tensor, Any]]:
    """The model's function for `attn_implementation="eager"`, by convention in the module of its class."""
    for kind in type(module).__mro__:
        if own := getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None):
            return own
    raise NotImplementedError(f"{type(module).__name__} has no eager attention that could be called row by row")


# Registered without a mask function, so that Transformers builds no (N, N) mask for them
AttentionInterface.register(ROW_BY_ROW, row_by_row)
AttentionInterface.register(EAGER_ROW_BY_ROW, eager_row_by_row)


def is_flash(implementation: str | None) -> bool:
    """Whether this is FlashAttention, from a package or a kernel of the hub: it reads the ends of rows."""
    return is_flash_attention_requested(requested_attention_implementation=implementation)


@contextmanager
def packed_attention(model: PreTrainedModel, shared: bool = False) -> Iterator[None]:
    """
    Run attention row by row inside this context, which must also contain a backward that recomputes activations;
    `shared` if any forward in it may be passed [`Prefixes`].
    """
    config: Any = model.config.get_text_config()
    implementation = config._attn_implementation
    config._attn_implementation = _replacement(implementation, shared)
    try:
        yield
    finally:
        config._attn_implementation = implementation


def _replacement(implementation: str, shared: bool) -> str:
    """The attention that is called in place of this one while rows are packed."""
    if not (shared and is_flash(implementation)):
        return BY_ROW.get(implementation, implementation)
    name = PREFIXED + implementation.removeprefix(PREFIXED)  # it may be replaced already
    AttentionInterface.register(name, flash_behind_prefixes)
    return name


def row_boundaries(model: PreTrainedModel, row_lengths: list[int], device: torch.device) -> dict[str, Any]:
    """What the attention and the other layers of this model read to keep the rows apart."""
    config = model.config.get_text_config()
    flash = is_flash(config._attn_implementation)
    to_kernels = config.model_type in ENDS_TO_KERNELS
    boundaries: dict[str, Any] = {} if flash else {"row_lengths": row_lengths}
    if flash or to_kernels:
        ends = torch.tensor([0, *row_lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)
        longest = max(row_lengths)
        boundaries |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
    if to_kernels:
        rows = torch.arange(len(row_lengths), dtype=torch.int32)
        boundaries["seq_idx"] = rows.repeat_interleave(torch.tensor(row_lengths))[None].to(device)
    return boundaries
