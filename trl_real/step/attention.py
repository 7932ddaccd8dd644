"""Rows one after another instead of padded: attention that stays within each row, and whether a model can be run so.

In: a model and its settings. Out: the attention of a packed forward (positions restart with every row, no row sees
another), and the reason why a model has to be run on padded rows instead. FlashAttention does this by itself; SDPA and
a model's own ("eager") attention are called row by row, each row with its own window. The layout of a packed batch is
in `layouts.py`.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftConfig, PeftType
from torch import nn
from transformers import AttentionInterface, PreTrainedConfig

from ..compat import is_flash_attention_requested, sdpa_attention_forward
from .prefix_attention import PREFIXED, Prefixes, behind_prefixes, flash_behind_prefixes


ROW_BY_ROW, EAGER_ROW_BY_ROW = "trl_real_row_by_row", "trl_real_eager_row_by_row"
BY_ROW = {"sdpa": ROW_BY_ROW, "eager": EAGER_ROW_BY_ROW}  # what stands in for an implementation while rows are packed
ATTENTION = frozenset({"full_attention", "sliding_attention"})  # kinds of layers whose rows are kept apart here
# Models whose other layers hand the ends of rows to their kernels, or fail where a kernel is not installed; each was
# tried (tests/zoo)
ENDS_TO_KERNELS = frozenset(
    "bamba falcon_h1 granitemoehybrid mamba2 nemotron_h olmo_hybrid qwen3_5_moe_text qwen3_5_text qwen3_next "
    "zamba2".split()
)
# Adapters of PEFT that change what a layer makes of a token by that token alone; each was tried
BY_TOKEN = frozenset(
    "LORA ADALORA BEFT BOFT C3A DEFT DELORA FOURIERFT FROD GLORA GRALORA HIRA HRA IA3 LN_TUNING LOHA LOKR MISS "
    "OFT OSF PEANUT PSOFT RANDLORA ROAD SHIRA SUPERTUNING TINYLORA TRAINABLE_TOKENS UNILORA VBLORA VERA WAVEFT".split()
)


def row_by_row(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    row_lengths: list[int] | None = None,
    prefixes: Prefixes | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """
    Transformers' SDPA on one row after another.

    Args:
        query, key, value (`torch.Tensor` of shape `(1, heads, N, head_dim)`):
            Of all rows, one after another.
        attention_mask (`torch.Tensor`, *optional*):
            Unused: every row is causal and without padding.
        row_lengths (`list[int]`):
            Tokens of every row, adding up to N.
        prefixes ([`Prefixes`], *optional*):
            Where rows are segments of rollouts.
        sliding_window (`int`, *optional*):
            Tokens that a token of this layer sees, itself included.

    Returns:
        `tuple`: output of shape `(1, N, heads, head_dim)`, and no attention weights.
    """
    if prefixes is not None:
        return behind_prefixes(module, query, key, value, prefixes, **kwargs)

    def attend(*row: torch.Tensor) -> torch.Tensor:
        slides = sliding_window is not None and row[0].size(2) > sliding_window
        mask = _sees(row[0], sliding_window)[None, None] if slides else None  # SDPA is causal, and faster, without one
        return sdpa_attention_forward(module, *row, mask, **kwargs)[0]

    return _each_row(attend, (query, key, value), row_lengths), None


def eager_row_by_row(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    row_lengths: list[int] | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The model's own attention, which knows its soft cap or its sinks, as [`row_by_row`]."""
    own = _own_attention(module)

    def attend(*row: torch.Tensor) -> torch.Tensor:
        hidden = ~_sees(row[0], sliding_window)
        mask = torch.zeros_like(hidden, dtype=row[0].dtype).masked_fill(hidden, torch.finfo(row[0].dtype).min)
        return own(module, *row, mask[None, None], sliding_window=sliding_window, **kwargs)[0]

    return _each_row(attend, (query, key, value), row_lengths), None


def _each_row(
    attend: Callable[..., torch.Tensor], tensors: tuple[torch.Tensor, ...], row_lengths: list[int] | None
) -> torch.Tensor:
    """Attention of every row by itself, one after another again."""
    if row_lengths is None:
        raise NotImplementedError("its layers do not tell the attention where rows end")
    if len(set(row_lengths)) == 1:  # a plain batch: one call, and no second copy of the output
        batch = (tensor[0].unflatten(1, (len(row_lengths), -1)).transpose(0, 1) for tensor in tensors)
        return attend(*batch).flatten(0, 1)[None]
    rows = zip(*(tensor.split(row_lengths, dim=2) for tensor in tensors), strict=True)
    return torch.cat([attend(*row) for row in rows], dim=1)


def _sees(query: torch.Tensor, sliding_window: int | None) -> torch.Tensor:
    """Which tokens (n, n) a token of a row sees: none after it, and with a window only the last of that many."""
    length = query.size(2)
    sees = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    return sees if sliding_window is None else sees.triu(1 - sliding_window)


def _own_attention(module: nn.Module) -> Callable[..., tuple[torch.Tensor, Any]]:
    """The function that the model has for `attn_implementation="eager"`, beside its class by convention."""
    for kind in type(module).__mro__:
        if own := getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None):
            return own
    raise NotImplementedError(f"{type(module).__name__} has no eager attention that could be called row by row")


# Registered without a mask function, so that Transformers builds no (N, N) mask for them
AttentionInterface.register(ROW_BY_ROW, row_by_row)
AttentionInterface.register(EAGER_ROW_BY_ROW, eager_row_by_row)


def is_flash(implementation: str | None) -> bool:
    """Whether this is FlashAttention, of a package or a kernel of the hub: it takes the ends of rows."""
    return is_flash_attention_requested(requested_attention_implementation=implementation)


@contextmanager
def packed_attention(model: nn.Module, shared: bool = False) -> Iterator[None]:
    """
    Run attention row by row inside this context; it must also hold a backward that recomputes activations.

    Args:
        model (`nn.Module`):
            The one that is run.
        shared (`bool`):
            Whether any of its forwards may be told of [`Prefixes`].
    """
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    config._attn_implementation = _stand_in(implementation, shared)
    try:
        yield
    finally:
        config._attn_implementation = implementation


def _stand_in(implementation: str, shared: bool) -> str:
    """What is called in place of this attention while rows are packed."""
    if not (shared and is_flash(implementation)):
        return BY_ROW.get(implementation, implementation)
    name = PREFIXED + implementation.removeprefix(PREFIXED)  # it may stand there already
    AttentionInterface.register(name, flash_behind_prefixes)
    return name


def row_boundaries(model: nn.Module, row_lengths: list[int], device: torch.device) -> dict[str, Any]:
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


def packing_obstacle(model: nn.Module, torch_compile: bool = False) -> str | None:
    """Why this model cannot be run on packed rows, as far as its settings tell; `None` if they do not."""
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    for peft in getattr(model, "peft_config", {}).values():
        if reason := _adapter_obstacle(peft):
            return reason
    if config.model_type not in ENDS_TO_KERNELS:
        if getattr(model, "_is_stateful", False):
            return "it carries a state from token to token"
        if not getattr(model, "_supports_attention_backend", False):
            return "it chooses its attention by itself"
        if others := set(getattr(config, "layer_types", None) or []) - ATTENTION:
            return f"its layers of the kind {min(others)} do not keep rows apart"
    if torch_compile:
        return "torch_compile would compile anew for every set of row lengths"
    if implementation not in BY_ROW and not is_flash(implementation):
        return f"attn_implementation is {implementation}, not sdpa, eager or flash_attention_2"
    return None


def _adapter_obstacle(peft: PeftConfig) -> str | None:
    if peft.is_prompt_learning:
        return "prompt learning puts virtual tokens in front of a row"
    if getattr(peft, "alora_invocation_tokens", None):
        return "an activated LoRA begins at its invocation tokens, which it looks for once in a row"
    if (kind := PeftType(peft.peft_type).value) not in BY_TOKEN:  # a new one has no effect yet, which no trial shows
        return f"it is not known whether a {kind} adapter looks at one token at a time"
    return None


def attention_window(config: PreTrainedConfig) -> int | None:
    """Tokens that the layers of this text model look back, if any of them looks back a fixed number only."""
    kinds = getattr(config, "layer_types", None)
    return getattr(config, "sliding_window", None) if kinds is None or "sliding_attention" in kinds else None


def sharing_obstacle(model: nn.Module, attention_dropout: bool = False) -> str | None:
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
