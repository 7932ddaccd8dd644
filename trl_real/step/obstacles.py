"""What a model's settings rule out: packed rows, shared prompts, rows beyond the length at which positions change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peft import PeftConfig, PeftType
from transformers import PreTrainedConfig, PreTrainedModel

from .attention import BY_ROW, ENDS_TO_KERNELS, is_flash
from .rollouts import Rollout


ATTENTION = frozenset({"full_attention", "sliding_attention"})  # kinds of layers whose rows `attention.py` keeps apart
# Adapters of PEFT that change the output of a layer for a token by that token alone; each is tested
BY_TOKEN = frozenset(
    "LORA ADALORA BEFT BOFT C3A DEFT DELORA FOURIERFT FROD GLORA GRALORA HIRA HRA IA3 LN_TUNING LOHA LOKR MISS "
    "OFT OSF PEANUT PSOFT RANDLORA ROAD SHIRA SUPERTUNING TINYLORA TRAINABLE_TOKENS UNILORA VBLORA VERA WAVEFT".split()
)


def packing_obstacle(model: PreTrainedModel, torch_compile: bool = False) -> str | None:
    """Why this model cannot run packed rows, insofar as its settings tell; `None` if they do not."""
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    for peft in getattr(model, "peft_config", {}).values():
        if reason := _adapter_obstacle(peft):
            return reason
    if config.model_type not in ENDS_TO_KERNELS:
        if getattr(model, "_is_stateful", False):
            return "it carries a state from token to token"
        if not getattr(model, "_supports_attention_backend", False):
            return "it has its own attention code"
        if others := set(getattr(config, "layer_types", None) or []) - ATTENTION:
            return f"its {min(others)} layers do not keep rows apart"
    if torch_compile:
        return "torch_compile would compile again for every set of row lengths"
    if implementation not in BY_ROW and not is_flash(implementation):
        return f"attn_implementation is {implementation}, not sdpa, eager or flash_attention_2"
    return None


def _adapter_obstacle(peft: PeftConfig) -> str | None:
    if peft.is_prompt_learning:
        return "prompt learning puts virtual tokens in front of a row"
    if getattr(peft, "alora_invocation_tokens", None):
        return "an activated LoRA begins at its invocation tokens, which it finds only once in a row"
    if (kind := PeftType(peft.peft_type).value) not in BY_TOKEN:  # a new one has no effect yet, so no trial would show
        return f"it is not known whether a {kind} adapter changes each token by itself"
    return None


def sharing_obstacle(model: PreTrainedModel, attention_dropout: bool = False) -> str | None:
    """Why prompts of this model cannot be shared if its rows can be packed, insofar as its settings tell."""
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
        return "not every layer attends to the entire row"
    if any(name.endswith("sinks") for name, _ in model.named_parameters()):
        return "it has attention sinks"
    return "dropout would be the same for all rollouts of a prompt" if attention_dropout else None


def attention_window(config: PreTrainedConfig) -> int | None:
    """Tokens that the layers of this text model look back, if any of them looks back only a fixed number."""
    kinds = getattr(config, "layer_types", None)
    return getattr(config, "sliding_window", None) if kinds is None or "sliding_attention" in kinds else None


@dataclass(frozen=True)
class PositionLimit:
    """A length beyond which the rotary frequencies of a forward change, for all its rows."""

    length: int  # tokens of the longest row for which the usual frequencies hold
    # With `rope_type="dynamic"` the frequencies depend on the longest row, and on the forwards before; with "longrope"
    # there are only two sets of them
    refuses_longer: bool

    def sides(self, rollouts: list[Rollout]) -> tuple[list[Rollout], list[Rollout]]:
        """The rollouts within the limit, and those beyond."""
        within = [rollout for rollout in rollouts if rollout.length <= self.length]
        return within, [rollout for rollout in rollouts if rollout.length > self.length]

    def check(self, length: int) -> None:
        """Raises `ValueError` if a row of that many tokens cannot be run exactly."""
        if self.refuses_longer and length > self.length:
            raise ValueError(
                f"A rollout of {length} tokens is longer than the model's {self.length}, and its rope_type 'dynamic' "
                "makes the positions of every row depend on the longest row in its forward. Lower "
                f"`max_completion_length` so that prompt and completion have at most {self.length} tokens together, "
                "or write another rope_type, such as 'yarn', into the model's config."
            )


def position_limit(model: PreTrainedModel) -> PositionLimit | None:
    """The length at which the frequencies of this model change; `None` if they do not."""
    if not (limits := list(_limits(model.config.get_text_config()))):
        return None
    peft_configs = getattr(model, "peft_config", {}).values()
    virtual = max((peft.num_virtual_tokens for peft in peft_configs if peft.is_prompt_learning), default=0)
    lowest = min(limit.length for limit in limits)
    return PositionLimit(lowest - virtual, any(limit.refuses_longer for limit in limits))


def _limits(config: PreTrainedConfig) -> Iterator[PositionLimit]:
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    for parameters in [rope] if "rope_type" in rope else rope.values():  # of the model, or of each kind of layer
        if parameters["rope_type"] == "longrope":
            yield PositionLimit(parameters["original_max_position_embeddings"], refuses_longer=False)
        elif "dynamic" in parameters["rope_type"]:
            yield PositionLimit(config.max_position_embeddings, refuses_longer=True)
