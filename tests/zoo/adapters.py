"""Every kind of adapter that PEFT has, at a size for the tiny model."""

from dataclasses import fields
from typing import Any

from peft import LoraConfig, PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING


COMMON: dict[str, Any] = dict(task_type="CAUSAL_LM", r=4, num_virtual_tokens=3, target_modules=["q_proj", "down_proj"])
SPECIAL: dict[str, dict[str, Any]] = {
    "ADALORA": dict(total_step=8, init_r=4, target_r=2, tinit=1, tfinal=1),
    "ADAPTION_PROMPT": dict(target_modules=None, adapter_len=3, adapter_layers=1),
    "BOFT": dict(boft_block_size=4),
    "C3A": dict(block_size=4),
    "CPT": dict(cpt_token_ids=[3, 4, 5], cpt_tokens_type_mask=[1, 2, 4]),
    "FOURIERFT": dict(n_frequency=8),
    "IA3": dict(feedforward_modules=["down_proj"]),
    "LN_TUNING": dict(target_modules=["input_layernorm"]),
    "MULTITASK_PROMPT_TUNING": dict(num_tasks=1),
    "OFT": dict(r=0, oft_block_size=4),
    "P_TUNING": dict(encoder_hidden_size=16),
    "ROAD": dict(group_size=4),
    "TRAINABLE_TOKENS": dict(token_indices=[3, 4, 5], target_modules=["embed_tokens"]),
    "VBLORA": dict(num_vectors=8, vector_length=4),
    "WAVEFT": dict(n_frequency=8),
}
LORA_VARIANTS: dict[str, dict[str, Any]] = {
    "LORA, use_dora": dict(use_dora=True),
    "LORA, alora_invocation_tokens": dict(alora_invocation_tokens=[10]),
    "LORA, trainable_token_indices": dict(trainable_token_indices=[3, 4, 5]),
    "LORA, modules_to_save": dict(modules_to_save=["lm_head"]),
}


def adapter(name: str) -> PeftConfig:
    """The configuration of this name: a `PeftType`, or a variant of LoRA."""
    if name in LORA_VARIANTS:
        return LoraConfig(**_common(LoraConfig) | LORA_VARIANTS[name])
    config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(name)]
    return config(**_common(config) | SPECIAL.get(name, {}))


def _common(config: type) -> dict[str, Any]:
    return {key: value for key, value in COMMON.items() if key in {item.name for item in fields(config)}}
