"""
How an answer is sampled, in words that all engines understand.

In: the options of sampling, and a number for each sample. Out: Inspect's configuration, and the seed of a sample,
which depends on nothing but the seed of the evaluation, the set, the problem and the number of the sample: neither on
what is sampled beside it nor on what was there before a kill. Left out: the engines.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class SamplingSettings:
    """How the next token is drawn; the names are those of Transformers. Temperature 0 takes the likeliest."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float | None
    repetition_penalty: float
    max_new_tokens: int

    def __post_init__(self) -> None:
        checks = {
            "temperature": (self.temperature >= 0, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0 (all tokens) or more"),
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
        }
        for name, (holds, rule) in checks.items():
            if not holds:
                raise ValueError(f"{name}: {getattr(self, name)} is not {rule}.")

    def extras(self) -> dict[str, Any]:
        """What is not a part of OpenAI's interface, where it is not left at its default."""
        extras = {"top_k": self.top_k or None, "min_p": self.min_p}
        extras["repetition_penalty"] = None if self.repetition_penalty == 1 else self.repetition_penalty
        return {name: value for name, value in extras.items() if value is not None}


def sample_seed(seed: int, problems: str, problem: int, sample: int) -> int:
    """
    The seed of one sample.

    Args:
        seed (`int`):
            That of the evaluation.
        problems (`str`):
            Name of the set.
        problem (`int`), sample (`int`):
            Their numbers.

    Returns:
        `int`: from 0 to 2^31 - 1.
    """
    source = json.dumps([seed, problems, problem, sample]).encode()
    return int.from_bytes(hashlib.blake2b(source, digest_size=4).digest(), "big") >> 1


def pick_backend(wanted: str) -> str:
    """`"vllm"` or `"transformers"`; with `"auto"` vLLM where it is installed and there is a GPU."""
    installed = importlib.util.find_spec("vllm") is not None
    if wanted == "vllm" and not installed:
        raise ValueError(
            "backend: vLLM is not installed. Run `pip install 'trl-real[vllm]'`, or write --backend transformers."
        )
    if wanted != "auto":
        return wanted
    return "vllm" if installed and torch.cuda.is_available() else "transformers"


def default_dtype() -> str:
    """bfloat16 on an accelerator, float32 on a CPU."""
    return "bfloat16" if torch.accelerator.is_available() else "float32"
