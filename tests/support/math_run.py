"""A tiny model that can earn math_reward, and questions for it: what the launch tests give the paper's recipes."""

from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


# Untrained, the model says any of these: "... </think> ... \boxed{2} ..." is right for half of the questions
ANSWERS = [rf"\boxed{{{number}}}" for number in (1, 2)]
WORDS = ["<pad>", "<eos>", "<unk>", "</think>", *ANSWERS]
CHAT = "{% for message in messages %}{{ message['content'] }} {% endfor %}{{ end }}"


def tiny_model(hidden_size: int = 16) -> LlamaForCausalLM:
    """Not Qwen2, whose tokenizer `AutoTokenizer` would take instead of the one in the folder; vLLM needs size 64."""
    torch.manual_seed({16: 3, 64: 0}[hidden_size])  # which give right answers now and then
    size = dict(vocab_size=len(WORDS), hidden_size=hidden_size, intermediate_size=32, num_hidden_layers=2)
    heads = dict(num_attention_heads=2, num_key_value_heads=1, pad_token_id=0, eos_token_id=1)
    # Logits as wide at every size: answers of all kinds are sampled
    return LlamaForCausalLM(LlamaConfig(**size, **heads, initializer_range=1.2 / hidden_size**0.5))


def math_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = dict(pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", chat_template=CHAT, **special)


def write_math_run(folder: Path, questions: int = 160, hidden_size: int = 16) -> list[str]:
    """
    Writes `model/`, `train.parquet` and `eval.parquet` (in DeepScaleR's columns).

    Returns:
        `list[str]`: overrides for the model, the data, the lengths and the CPU, and none else.
    """
    tiny_model(hidden_size).save_pretrained(folder / "model")
    math_tokenizer().save_pretrained(folder / "model")
    texts = [f"Question {number}: how much is {number % 2} + 1?" for number in range(questions)]
    rows = [{"problem": text, "answer": str(n % 2 + 1), "solution": ""} for n, text in enumerate(texts)]
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    Dataset.from_list(rows[:30]).to_parquet(folder / "eval.parquet")
    paths = {"model_name_or_path": "model", "dataset_name": "train.parquet", "eval_dataset_name": "eval.parquet"}
    words = [word for name, path in paths.items() for word in (f"--{name}", str(folder / path))]
    words += ["--output_dir", str(folder / "out"), "--max_completion_length", "8"]
    return [*words, "--use_cpu", "true", "--bf16", "false", "--use_vllm", "false"]
