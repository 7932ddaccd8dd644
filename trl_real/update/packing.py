"""Rows one after another instead of padded: attention that stays within each row, and whether a model can be run so.

In: a model and its settings. Out: the attention of a packed forward (positions restart with every row, no row sees
another), and the reason why a model has to be run on padded rows instead. FlashAttention does this by itself; SDPA is
called row by row. The layout of a packed batch is in `micro_batches.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from peft import PeftConfig, PeftType
from torch import nn
from transformers import AttentionInterface, PreTrainedConfig

from ..compat import sdpa_attention_forward
from .prefix_attention import Prefixes, behind_prefixes
from .rollouts import Rollout


ROW_BY_ROW = "trl_real_row_by_row"
FLASH = "flash_attention"  # flash_attention_2 and later
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
    row_lengths: list[int],
    prefixes: Prefixes | None = None,
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

    Returns:
        `tuple`: output of shape `(1, N, heads, head_dim)`, and no attention weights.
    """
    if prefixes is not None:
        return behind_prefixes(module, query, key, value, prefixes, **kwargs)
    if len(set(row_lengths)) == 1:  # a plain batch: one call, and no second copy of the output
        batch = (tensor[0].unflatten(1, (len(row_lengths), -1)).transpose(0, 1) for tensor in (query, key, value))
        return sdpa_attention_forward(module, *batch, None, **kwargs)[0].flatten(0, 1)[None], None
    rows = zip(*(tensor.split(row_lengths, dim=2) for tensor in (query, key, value)), strict=True)
    return torch.cat([sdpa_attention_forward(module, *row, None, **kwargs)[0] for row in rows], dim=1), None


# Registered without a mask function, so that Transformers builds no (N, N) mask for it
AttentionInterface.register(ROW_BY_ROW, row_by_row)


@contextmanager
def packed_attention(model: nn.Module) -> Iterator[None]:
    """Run SDPA row by row inside this context; it must also hold a backward that recomputes activations."""
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    if implementation == "sdpa":
        config._attn_implementation = ROW_BY_ROW
    try:
        yield
    finally:
        config._attn_implementation = implementation


def row_boundaries(model: nn.Module, row_lengths: list[int], device: torch.device) -> dict[str, Any]:
    """What the attention of this model reads to keep the rows apart."""
    if not model.config.get_text_config()._attn_implementation.startswith(FLASH):
        return {"row_lengths": row_lengths}
    ends = torch.tensor([0, *row_lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)
    longest = max(row_lengths)
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}


def obstacle(model: nn.Module, torch_compile: bool = False) -> str | None:
    """Why this model cannot be run on packed rows, as far as its settings tell; `None` if they do not."""
    config = model.config.get_text_config()
    implementation = config._attn_implementation or "eager"
    if config is not model.config:
        return "the model also reads images"
    for peft in getattr(model, "peft_config", {}).values():
        if reason := _adapter_obstacle(peft):
            return reason
    if getattr(model, "_is_stateful", False):
        return "it carries a state from token to token"
    if not getattr(model, "_supports_attention_backend", False):
        return "it chooses its attention by itself"
    if torch_compile:
        return "torch_compile would compile anew for every set of row lengths"
    if implementation.startswith(FLASH):
        if _has_other_layers(config, {"full_attention", "sliding_attention"}):
            return "it has layers that are no attention"
    elif implementation != "sdpa":
        return f"attn_implementation is {implementation}, not sdpa or {FLASH}_2"
    elif _has_other_layers(config, {"full_attention"}) or _slides(config):
        return f"not every layer attends to the whole row, which needs {FLASH}_2"
    return None


def _adapter_obstacle(peft: PeftConfig) -> str | None:
    if peft.is_prompt_learning:
        return "prompt learning puts virtual tokens in front of a row"
    if getattr(peft, "alora_invocation_tokens", None):
        return "an activated LoRA begins at its invocation tokens, which it looks for once in a row"
    if (kind := PeftType(peft.peft_type).value) not in BY_TOKEN:  # a new one has no effect yet, which no trial shows
        return f"it is not known whether a {kind} adapter looks at one token at a time"
    return None


def _has_other_layers(config: PreTrainedConfig, kinds: set[str]) -> bool:
    return not kinds.issuperset(getattr(config, "layer_types", None) or [])


def _slides(config: PreTrainedConfig) -> bool:
    """Whether all layers look back a fixed number of tokens, in a model without a list of its layers' kinds."""
    return getattr(config, "layer_types", None) is None and getattr(config, "sliding_window", None) is not None


def rows_are_apart(logps: Callable[[list[Rollout]], torch.Tensor], rollouts: list[Rollout], tolerance: float) -> bool:
    """
    Whether a rollout gets the same log-probabilities behind another one as in front of it.

    Args:
        logps (`Callable`):
            Log-probabilities `(B, C)` of packed rollouts under the model.
        rollouts (`list[Rollout]`):
            Any; the two shortest are run.
        tolerance (`float`):
            Largest difference, in nats, that is rounding.
    """
    counted = [replace(rollout, mask=torch.ones_like(rollout.mask)) for rollout in rollouts]
    shortest = sorted(counted, key=lambda rollout: rollout.length)[:2]
    probe, other = shortest[0], shortest[-1]  # the same where a process has only one
    # Backwards, since a rollout that sees its own copy may not notice
    other = replace(other, prompt_ids=other.prompt_ids.flip(0), completion_ids=other.completion_ids.flip(0))
    behind, ahead = logps([other, probe])[1], logps([probe, other])[0]
    tokens = len(probe.completion_ids)
    return bool((behind - ahead)[:tokens].abs().max() <= tolerance)
