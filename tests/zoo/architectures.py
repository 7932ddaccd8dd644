"""Tiny configurations of language models, by the name that Transformers has for the architecture."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel


# A configuration takes of these what it knows, whatever its words for them
SIZE: dict[str, Any] = dict(vocab_size=63, pad_token_id=0, bos_token_id=2, eos_token_id=1, initializer_range=0.3)
SIZE |= dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
SIZE |= dict(head_dim=8, max_position_embeddings=64, use_cache=False)
LEFT_OUT = object()  # of SIZE
GPT: dict[str, Any] = dict(n_embd=16, n_layer=2, n_head=2, n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0)
EXPERTS: dict[str, Any] = dict(num_experts=4, num_local_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
LATENT: dict[str, Any] = dict(n_routed_experts=4, n_group=1, topk_group=1, q_lora_rank=8, kv_lora_rank=8, v_head_dim=8)
LATENT |= dict(qk_rope_head_dim=4, qk_nope_head_dim=4)
STATE: dict[str, Any] = dict(mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=8, mamba_d_ssm=32)
STATE |= dict(mamba_expand=2, mamba_chunk_size=8)
LINEAR: dict[str, Any] = dict(
    linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8
)
HALF_LOCAL = dict(sliding_window=4, layer_types=["sliding_attention", "full_attention"])

# Those that need nothing else
PLAIN = "llama qwen2 qwen3 smollm3 phi olmo2 granite gemma cohere stablelm nemotron glm4 helium arcee".split()
PLAIN += "seed_oss ernie4_5 hunyuan_v1_dense nanochat gpt_neox persimmon".split()
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(PLAIN, {}),
    **dict.fromkeys(["ministral", "olmo3", "gemma2", "gemma3_text", "cohere2", "exaone4"], HALF_LOCAL),
    **dict.fromkeys(["mistral", "phi3", "starcoder2"], dict(sliding_window=None)),
    **dict.fromkeys(["qwen3_moe", "olmoe", "granitemoe"], EXPERTS),
    **dict.fromkeys(["gpt2", "gpt_bigcode"], GPT),
    "gpt_neo": dict(hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]]),
    "gptj": GPT | dict(rotary_dim=4),
    "codegen": GPT | dict(rotary_dim=4, n_head=4, num_attention_heads=4),
    "opt": dict(ffn_dim=32, word_embed_proj_dim=16),
    "xglm": dict(d_model=16, ffn_dim=32, num_layers=2, attention_heads=2),
    "bart": dict(d_model=16, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=32),
    "bloom": dict(n_layer=2, n_head=2),
    "mpt": dict(d_model=16, n_heads=2, n_layers=2, expansion_ratio=2),
    "falcon": dict(num_kv_heads=1, head_dim=LEFT_OUT),
    "qwen2_moe": EXPERTS | dict(shared_expert_intermediate_size=16),
    "mixtral": EXPERTS | dict(sliding_window=None),
    "gpt_oss": EXPERTS | HALF_LOCAL,
    "deepseek_v3": EXPERTS | LATENT | dict(first_k_dense_replace=1, num_key_value_heads=2, head_dim=4),
    "minimax": EXPERTS | dict(block_size=4, layer_types=["linear_attention", "full_attention"]),
    "mamba": dict(state_size=4),
    "mamba2": dict(state_size=4, num_heads=4, head_dim=8, n_groups=1, expand=2, chunk_size=8),
    "falcon_mamba": dict(state_size=4),
    "rwkv": dict(attention_hidden_size=16),
    "recurrent_gemma": dict(lru_width=16, attention_window_size=4, num_hidden_layers=3),
    "jamba": EXPERTS | dict(mamba_d_state=4, mamba_dt_rank=4, attn_layer_period=2, attn_layer_offset=1),
    "bamba": STATE | dict(attn_layer_indices=[1]),
    "falcon_h1": STATE,
    "zamba2": STATE | dict(layers_block_type=["linear_attention", "hybrid"], mamba_ngroups=1, n_mamba_heads=4),
    "nemotron_h": STATE | dict(hybrid_override_pattern="M*-", num_hidden_layers=3, ssm_state_size=8, n_groups=1),
    "granitemoehybrid": STATE | EXPERTS | dict(layer_types=["mamba", "attention"], shared_intermediate_size=16),
    "qwen3_next": EXPERTS | LINEAR | dict(shared_expert_intermediate_size=16, initializer_range=0.1),
    "qwen3_5_text": LINEAR | dict(initializer_range=0.1, layer_types=["linear_attention", "full_attention"]),
    "olmo_hybrid": LINEAR | dict(layer_types=["linear_attention", "full_attention"], initializer_range=0.1),
    "lfm2": dict(layer_types=["conv", "full_attention"]),
}
MROPE = dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 1, 1])
VISION: dict[str, Any] = SIZE | dict(depth=1, num_heads=2, patch_size=4, out_hidden_size=16, embed_dim=16)
# Read images too, and are run on text here: (text, vision)
MULTIMODAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "qwen2_vl": (dict(rope_parameters=MROPE), VISION | dict(hidden_size=16)),
    "qwen2_5_vl": (dict(rope_parameters=MROPE), VISION | dict(fullatt_block_indexes=[0])),
    "qwen3_vl": (dict(rope_parameters=MROPE), VISION | dict(deepstack_visual_indexes=[0], num_position_embeddings=16)),
    "qwen3_5": (
        LINEAR | dict(initializer_range=0.1, layer_types=["linear_attention", "full_attention"]),
        VISION | dict(num_position_embeddings=16),
    ),
    "gemma3": (HALF_LOCAL, dict(SIZE, patch_size=4, image_size=16)),
    "llava": (dict(model_type="qwen2"), dict(SIZE, model_type="clip_vision_model", image_size=16, patch_size=8)),
}
LONG = dict(rope_type="longrope", rope_theta=1e4, short_factor=[1.0] * 4, long_factor=[8.0] * 4)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3, longrope": (
        "phi3",
        dict(
            sliding_window=None,
            original_max_position_embeddings=10,
            rope_parameters=LONG | dict(original_max_position_embeddings=10, factor=6.4),
        ),
    ),
    "llama, dynamic rope": ("llama", dict(rope_parameters=dict(rope_type="dynamic", rope_theta=1e4, factor=2.0))),
    "mistral, window of 4": ("mistral", dict(sliding_window=4)),
}


def build(name: str, attn_implementation: str | None = None) -> PreTrainedModel:
    """A float32 model on random weights, always the same; with the attention it takes by default unless told."""
    if name in MULTIMODAL:
        text, vision = MULTIMODAL[name]
        config = AutoConfig.for_model(name, text_config=SIZE | text, vision_config=vision, tie_word_embeddings=False)
        kind: type = AutoModelForImageTextToText
    else:
        model_type, options = VARIANTS.get(name, (name, ARCHITECTURES.get(name, {})))
        settings = {key: value for key, value in (SIZE | options).items() if value is not LEFT_OUT}
        config, kind = AutoConfig.for_model(model_type, **settings), AutoModelForCausalLM
    torch.manual_seed(0)
    return kind.from_config(config, dtype=torch.float32, attn_implementation=attn_implementation)
