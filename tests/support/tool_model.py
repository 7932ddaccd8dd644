"""A tiny model that was taught to call a tool: right half of the time, and then to repeat what the tool said."""

import copy
import functools
import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.utils import get_json_schema


QUESTION = [{"role": "user", "content": "3 * 4?"}]
CALL = '<tool_call>\n{{"name": "multiply", "arguments": {{"a": 3, "b": {b}}}}}\n</tool_call><|im_end|>'
REPLY = "\n<|im_start|>user\n<tool_response>\n{product}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"


def multiply(a: int, b: int) -> int:
    """
    Multiply two integers.

    Args:
        a: The first.
        b: The second.

    Returns:
        Their product.
    """
    return a * b


def tool_tokenizer(name: str = "qwen3", words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Bytes and the merges of one conversation, with a chat template as TRL ships it and words for it."""
    template = files("trl").joinpath(f"chat_templates/{name}.jinja").read_text()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    symbols = dict(special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=800, show_progress=False, **symbols)
    tokenizer.train_from_iterator([template, json.dumps(get_json_schema(multiply)), CALL, REPLY], trainer)
    # Words of the response parser: tokens of their own that decoding with skip_special_tokens keeps
    tokenizer.add_tokens(["<tool_call>", "</tool_call>", "<think>", "</think>"])
    tokenizer.add_special_tokens(list(words))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        padding_side="left",
        chat_template=template,
    )


def teach(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tools: list[Callable]) -> PreTrainedModel:
    """Learn both conversations by heart, for prompts that start with `QUESTION` and offer these tools."""
    prompt: Any = tokenizer.apply_chat_template(QUESTION, tools=tools, add_generation_prompt=True, tokenize=False)
    texts = [prompt + CALL.format(b=b) + REPLY.format(product=3 * b) + f"{3 * b}<|im_end|>" for b in (4, 5)]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[:, : len(tokenizer(prompt)["input_ids"])] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


@functools.cache
def _taught() -> PreTrainedModel:
    torch.manual_seed(0)
    tokenizer = tool_tokenizer()
    size = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    config = Qwen2Config(**size, vocab_size=len(tokenizer), num_key_value_heads=2)
    return teach(Qwen2ForCausalLM(config).float(), tokenizer, [multiply])


def tool_model() -> PreTrainedModel:
    return copy.deepcopy(_taught())
