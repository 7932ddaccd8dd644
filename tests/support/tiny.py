"""Tiny real models, tokenizers and fixed rollouts that the tests share."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)


WORDS = [f"w{index}" for index in range(60)]
# Of every training: on the CPU, one line of log for each step, nothing else written
QUIET = dict(use_cpu=True, bf16=False, report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word."""
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = dict(pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **special)


def tiny_model(seed: int = 0, **options: Any) -> PreTrainedModel:
    """A float32 Qwen2 with about 5,000 parameters."""
    torch.manual_seed(seed)
    config = dict(vocab_size=63, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    config |= dict(num_key_value_heads=1, max_position_embeddings=128, tie_word_embeddings=False)
    config |= dict(initializer_range=0.3)
    return Qwen2ForCausalLM(Qwen2Config(**config | options)).float()


def tiny_moe(seed: int = 0) -> PreTrainedModel:
    """A float32 Qwen3-MoE with four experts."""
    torch.manual_seed(seed)
    config = dict(vocab_size=63, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    config |= dict(num_key_value_heads=1, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
    config |= dict(router_aux_loss_coef=0.1, initializer_range=0.3)
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**config)).float()


def prompts_dataset(count: int) -> Dataset:
    """Prompts of one to four words, all different."""
    places = [[(7 * index + 3 * k) % 60 for k in range(1 + index % 4)] + [index % 60] for index in range(count)]
    return Dataset.from_list([{"prompt": " ".join(WORDS[place] for place in each)} for each in places])


def digest(*parts: Any) -> int:
    """A number that depends on the parts alone."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def fixed_completion(prompt: str, index: int, longest: int = 12) -> list[int]:
    """The tokens of rollout `index` of a prompt, always the same; two of three end with the end-of-sequence token."""
    length = 1 + digest("length", prompt, index) % longest
    tokens = [3 + digest("token", prompt, index, position) % 60 for position in range(length)]
    return tokens + [1] * (digest("end", prompt, index) % 3 > 0)


def fixed_rollouts(env_mask: bool = False) -> Callable:
    """A `rollout_func` that answers every prompt with its fixed completions, whichever process asks."""

    def rollout_func(prompts: list[str], trainer: Any) -> dict[str, Any]:
        first = trainer.accelerator.process_index * len(prompts)
        group = trainer.num_generations if trainer.model.training else trainer.num_generations_eval
        indices = [(first + position) % group for position in range(len(prompts))]
        completions = [fixed_completion(prompt, index) for prompt, index in zip(prompts, indices, strict=True)]
        output = {
            "prompt_ids": [trainer.processing_class(prompt)["input_ids"] for prompt in prompts],
            "completion_ids": completions,
            "logprobs": [[0.0] * len(ids) for ids in completions],
        }
        if env_mask:
            output["env_mask"] = [[int(token % 3 > 0) for token in ids] for ids in completions]
        return output

    return rollout_func


def fixed_reward(prompts: list[str], completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
    """Every fourth prompt all right, every fourth all wrong, the others mixed; a few rollouts without a reward."""
    rewards = []
    for prompt, ids in zip(prompts, completion_ids, strict=True):
        kind, luck = digest("kind", prompt) % 4, digest("reward", prompt, tuple(ids))
        reward = 1.0 if kind == 0 else 0.0 if kind == 1 else float(luck % 2)
        rewards.append(None if luck % 17 == 3 else reward)
    return rewards


def graded_reward(prompts: list[str], completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
    """One of five grades, or none."""
    luck = [digest("grade", prompt, tuple(ids)) for prompt, ids in zip(prompts, completion_ids, strict=True)]
    return [None if number % 17 == 3 else number % 5 / 4 for number in luck]
