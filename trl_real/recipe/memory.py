"""
Estimates the memory of a run on each GPU from the model's configuration, without weights and GPUs.

With N parameters (T of them trained), W processes, L layers of width h with feed-forward width i and key-value heads
of width k in total, t tokens in a forward (rollouts at once x longest rollout), a vocabulary of V, s bytes per stored
number and b per computed one (4, and 2 in bfloat16; autocast has s = 4 and b = 2):

    weights      s·N (0.56·N in 4 bits); ZeRO-3: s·N / W + embedding; and 4·T for an adapter
    gradients    4·T, over W from ZeRO-2 on
    optimizer    8·T (Adam), and 4·T for its float32 weights under DeepSpeed; over W from ZeRO-1 on
    reference    b·N for the model of the KL term, over W under ZeRO-3; none with LoRA
    activations  with gradient checkpointing t·s·L·h, the input of every layer, and the largest of three successive
                 parts: autocast's copies, the head, the inside of a recomputed layer. Without: the inside of all
                 layers, the copies and the head
      inside     t·(b·(8·h + 2·k + 4·i) + (s - b)·6·h) for a layer; b·t·2·h less if its norms are frozen
      copies     b·N if s > b; none of frozen weights with gradient checkpointing
      head       a tile of logits for 4,096 tokens: b·32,768 for each on a GPU, and on a CPU 34·V, since the steps of
                 its softmax are not fused; 12·t·h; 4·V·h for its gradient, if it has one
    KV cache     2·L·b·k for each token of each rollout that is generated at once

Fragmentation and NCCL's buffers, a few GB, are not included. Activations are those of Llama and Qwen2, fitted to
measurements on a CPU (`benchmarks/memory.py`; `docs/guides/memory.md` reports the error).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, Qwen2Config


GB = 1e9
HEAD_ROWS, HEAD_COLUMNS = 4096, 32768  # TRL's tile of logits
_SMALL: dict[str, Any] = dict(hidden_size=1536, intermediate_size=8960, num_attention_heads=12, num_key_value_heads=2)
_LARGE: dict[str, Any] = dict(hidden_size=3584, intermediate_size=18944, num_attention_heads=28, num_key_value_heads=4)
# For plans without the hub
KNOWN: dict[str, dict[str, Any]] = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": dict(num_hidden_layers=28, vocab_size=151936, **_SMALL),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": dict(num_hidden_layers=28, vocab_size=152064, **_LARGE),
}


@dataclass(frozen=True)
class ModelSize:
    parameters: int
    trained: int  # parameters
    embedding: int  # parameters of the input embedding
    vocabulary: int
    layers: int
    width: int
    feed_forward: int  # width
    kv_width: int  # key-value heads times their width


def read_config(name: str, **options: Any) -> PretrainedConfig:
    """The model's configuration, from its folder, the hub, or the table; `OSError` if none has it."""
    try:
        return AutoConfig.from_pretrained(name, **options)
    except OSError:
        if name not in KNOWN:
            raise
        return Qwen2Config(tie_word_embeddings=False, **KNOWN[name])


def model_size(config: PretrainedConfig, lora_rank: int | None = None) -> ModelSize:
    """The size of a model; `lora_rank` is that of adapters on every linear layer except the head."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    head = model.get_output_embeddings()
    linear = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
    trained = sum(lora_rank * (one.in_features + one.out_features) for one in linear) if lora_rank else parameters
    text = config.get_text_config()
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return ModelSize(
        parameters=parameters,
        trained=trained,
        embedding=model.get_input_embeddings().weight.numel(),
        vocabulary=text.vocab_size,
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        feed_forward=getattr(text, "intermediate_size", 0) or 4 * text.hidden_size,
        kv_width=(getattr(text, "num_key_value_heads", None) or text.num_attention_heads) * head_width,
    )


def zero_stage(deepspeed: Any) -> int:
    """Stage of a DeepSpeed configuration; 0 without one."""
    if isinstance(deepspeed, str):
        deepspeed = json.loads(deepspeed if deepspeed.lstrip().startswith("{") else Path(deepspeed).read_text())
    return int((deepspeed or {}).get("zero_optimization", {}).get("stage", 0))


def estimate_memory(size: ModelSize, options: dict[str, Any], rollouts: int, world_size: int) -> dict[str, float]:
    """Bytes on each GPU by purpose, if each process generates this number of rollouts at once."""
    stage = zero_stage(options["deepspeed"])
    stored, computed = _widths(options)
    share = {wanted: world_size if stage >= wanted else 1 for wanted in (1, 2, 3)}
    tokens = (options["max_prompt_tokens"] or 0) + options["max_completion_length"]
    separate = options["beta"] != 0 and options.get("kl_target", "ref") == "ref" and not options["use_peft"]
    return {
        "weights": _weights(size, options, stored, share[3]),
        "gradients": 4 * size.trained / share[2],
        "optimizer": (12 if options["deepspeed"] else 8) * size.trained / share[1],
        "reference": computed * size.parameters / share[3] if separate else 0.0,
        "activations": float(_activations(size, options, options["per_device_train_batch_size"] * tokens)),
        "kv_cache": float(2 * size.layers * computed * size.kv_width * rollouts * tokens),
    }


def _widths(options: dict[str, Any]) -> tuple[int, int]:
    """Bytes per stored number, and per computed one."""
    half = options["dtype"] in ("bfloat16", "float16")
    mixed = options["bf16"] is not False or bool(options["fp16"])
    return 2 if half or (mixed and options["deepspeed"]) else 4, 2 if half or mixed else 4


def _weights(size: ModelSize, options: dict[str, Any], stored: int, share: int) -> float:
    adapter = 4 * size.trained if options["use_peft"] else 0
    if options["load_in_4bit"]:
        return 0.56 * (size.parameters - size.embedding) + stored * size.embedding + adapter
    return float(stored * (size.parameters / share + (size.embedding if share > 1 else 0)) + adapter)


def _activations(size: ModelSize, options: dict[str, Any], tokens: int) -> int:
    stored, computed = _widths(options)
    frozen = options["use_peft"]
    inside = computed * ((6 if frozen else 8) * size.width + 2 * size.kv_width + 4 * size.feed_forward)
    inside = tokens * (inside + (stored - computed) * 6 * size.width)
    columns = 34 * min(size.vocabulary, HEAD_COLUMNS) if options["use_cpu"] else computed * HEAD_COLUMNS
    tile = min(tokens, HEAD_ROWS) * columns
    head = tile + 12 * tokens * size.width + (0 if frozen else 4 * size.vocabulary * size.width)
    copies = computed * size.parameters if stored > computed and not options["load_in_4bit"] else 0
    if not options["gradient_checkpointing"]:
        return size.layers * inside + copies + head
    return tokens * stored * size.layers * size.width + max(inside, head, 0 if frozen else copies)
