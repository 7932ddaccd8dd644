"""
Models with random weights, and what they are asked: a rehearsal needs no hub and no data set.

In: sizes. Out: a folder that `from_pretrained` and vLLM read, prompts, and a reward that about half of the rollouts of
an untrained model earn, so that most groups are mixed.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Size:
    """
    A model and its rollouts.

    Args:
        width (`int`), feed_forward (`int`), layers (`int`), heads (`int`), kv_heads (`int`), vocabulary (`int`):
            Of the model.
        prompt (`int`), completion (`int`):
            Most tokens of either.
    """

    width: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    prompt: int
    completion: int

    @property
    def config(self) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=self.prompt + self.completion,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
            tie_word_embeddings=False,
        )


# On a CPU; where a check looks at kernels, on a GPU; where it looks at memory
SMALL = Size(64, 128, 2, heads=2, kv_heads=1, vocabulary=256, prompt=16, completion=16)
LARGE = Size(1024, 4096, 24, heads=16, kv_heads=4, vocabulary=32768, prompt=64, completion=448)


def save_model(folder: Path, size: Size, dtype: torch.dtype) -> str:
    """Writes a model with its tokenizer once, in the first process; the name for `from_pretrained`."""
    if int(os.environ.get("RANK", 0)) > 0:  # of the others, Transformers writes only some files
        while not folder.is_dir():  # the check has a limit
            time.sleep(0.1)
    if not folder.is_dir():
        torch.manual_seed(0)
        aside = folder.with_name(f"{folder.name}-aside")
        LlamaForCausalLM(size.config).to(dtype).save_pretrained(aside)
        tokenizer(size.vocabulary).save_pretrained(aside)
        aside.rename(folder)
    return str(folder)


def tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """One token for each word, w0 w1 w2."""
    words = ["<pad>", "<eos>", *(f"w{number}" for number in range(vocabulary - 2))]
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def prompts(count: int, size: Size) -> Dataset:
    """Prompts of different lengths, all different."""
    lengths = [1 + (7 * number) % size.prompt for number in range(count)]
    words = [
        [f"w{(number + 3 * place) % (size.vocabulary - 2)}" for place in range(n)] for number, n in enumerate(lengths)
    ]
    return Dataset.from_dict({"prompt": [" ".join(each) for each in words]})


def starts_evenly(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    """1 for a completion whose first token is even."""
    return [float(ids[0] % 2 == 0) for ids in completion_ids]


def longest_rollouts(size: Size) -> Callable:
    """
    A `rollout_func`: random rollouts of full length, every second one right, so that nothing is generated and every
    micro-step is full.
    """
    generator = torch.Generator().manual_seed(0)

    def rollout_func(asked: list[str], trainer: Any) -> dict[str, Any]:
        def ids(length: int) -> list[list[int]]:
            return torch.randint(2, size.vocabulary, (len(asked), length), generator=generator).tolist()

        completions = [[2 + row % 2, *rest] for row, rest in enumerate(ids(size.completion - 1))]
        logprobs = [[0.0] * size.completion for _ in asked]
        return {"prompt_ids": ids(size.prompt), "completion_ids": completions, "logprobs": logprobs}

    return rollout_func
