"""The options of `trl-real evaluate`."""

import json
from dataclasses import dataclass, replace
from typing import Any

from ..options import option
from .problems import BENCHMARKS


# Section 5.1 of the paper
PAPER = {"samples": 16, "temperature": 0.6, "top_p": 0.95, "top_k": 0, "max_new_tokens": 8192}
LEAST = {"samples": 1, "limit": 1, "batch_size": 1, "max_new_tokens": 1, "temperature": 0, "top_k": 0}


@dataclass
class EvaluationArguments:
    """Which models are evaluated on what, and how. Sampling is the paper's by default, or the recipe's with one."""

    models: list[str] = option([], "Folders or hub ids (name@revision): models, adapters, checkpoints.")
    benchmarks: list[str] = option([], f"{', '.join(BENCHMARKS)}, files, or hub ids (name:split).")
    data: str | None = option(None, "Folder with the files of the six benchmarks. Default: the hub.")
    output: str = option("runs/eval", "Folder for the logs and the tables.")
    samples: int | None = option(None, "Samples per problem. Default: 16.")
    limit: int | None = option(None, "Only the first problems of each set.")
    temperature: float | None = option(None, "Default: 0.6. 0 is greedy.")
    top_p: float | None = option(None, "Default: 0.95.")
    top_k: int | None = option(None, "Default: 0, all tokens.")
    min_p: float | None = option(None, "Default: none.")
    repetition_penalty: float | None = option(None, "Default: none.")
    max_new_tokens: int | None = option(None, "Longest answer. Default: 8192.")
    batch_size: int | None = option(None, "Samples at a time. Default: 32, with vLLM or a server 512.")
    backend: str = option("auto", "auto: vllm, if installed, on GPUs.", choices=["auto", "vllm", "transformers"])
    base_url: str | None = option(None, "A server's address, http://HOST:PORT/v1; models are its names for them.")
    prompt_format: str | None = option(None, "plain: prompts are sent without chat template.", choices=["plain"])
    chat_template_kwargs: dict[str, Any] | str | None = option(None, "Arguments of the chat template, as JSON.")
    require_think: bool | None = option(None, "Whether the answer must follow </think>. Default: true.")
    report: bool = option(False, "Sample nothing; write tables from the logs in output, beside the paper's.")
    view: bool = option(False, "At the end, show every sample in a browser, until Ctrl-C.")

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}: {value} is too small; write {least} or more.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p} is not above 0 and at most 1.")
        for name in ("models", "benchmarks"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: one is named twice; omit the second.")
        if self.base_url is not None and self.backend != "auto":
            raise ValueError("backend: with base_url the server is the backend; omit it.")
        if isinstance(self.chat_template_kwargs, str):
            try:
                self.chat_template_kwargs = json.loads(self.chat_template_kwargs)
            except ValueError as error:
                raise ValueError(f"chat_template_kwargs: {error}; write JSON, such as '{{\"a\": true}}'.") from error

    def resolve(self, recipe: dict[str, Any]) -> "EvaluationArguments":
        """All options with the given value, the recipe's or the paper's; `ValueError` if they are contradictory."""
        given = {name: value for name, value in vars(self).items() if value not in (None, [])}
        values: dict[str, Any] = PAPER | {"repetition_penalty": 1.0} | recipe | given
        if not values.get("models"):
            raise ValueError("models: name at least one, by its folder or its hub id.")
        if values["temperature"] == 0 and values["samples"] > 1:
            raise ValueError("samples: with temperature 0 all of them are the same; write --samples 1.")
        return replace(self, **values)
