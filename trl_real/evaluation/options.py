"""
The options of `recipes/evaluate.py`.

In: nothing. Out: a dataclass for the command line. Left out: reading it (`trl_real.recipe.reading`).
"""

from dataclasses import dataclass, field
from typing import Any

from .problems import BENCHMARKS


# Section 5.1 of the paper
PAPER = {"samples": 16, "temperature": 0.6, "top_p": 0.95, "top_k": 0, "max_new_tokens": 8192}
DEFAULTS = PAPER | {"min_p": None, "repetition_penalty": 1.0, "chat_template_kwargs": None, "models": []}


def _option(default: Any, text: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": text, **metadata})


@dataclass
class EvaluationArguments:
    """
    What is evaluated, and how. The defaults of the sampling are the paper's, or with `--config` the recipe's.

    Args:
        models (`list[str]`, *optional*):
            Hub ids (`name` or `name@revision`) or folders: models, adapters, checkpoints. With `--config`, the model
            of the recipe and the one that it made.
        benchmarks (`list[str]`, *optional*):
            Names of `trl_real.evaluation.problems.BENCHMARKS`, files, or hub ids (`name:split`). Default: all six.
        data (`str`, *optional*):
            Folder with the files of the six benchmarks. Default: they come from the hub.
        output (`str`, *optional*, defaults to `"runs/eval"`):
            Folder for the logs and the tables.
        samples (`int`, *optional*):
            Samples for each problem. 16.
        limit (`int`, *optional*):
            Only the first problems of each set.
        temperature (`float`, *optional*), top_p (`float`, *optional*), top_k (`int`, *optional*):
            How to sample. 0.6, 0.95, 0 (all tokens).
        max_new_tokens (`int`, *optional*):
            Longest answer. 8192.
        batch_size (`int`, *optional*):
            Samples that are made at once. 32, with vLLM or a server 512.
        seed (`int`, *optional*, defaults to `0`):
            Decides which samples are drawn.
        dtype (`str`, *optional*):
            Precision of the weights. bfloat16, float32 on a CPU.
        backend (`str`, *optional*, defaults to `"auto"`):
            `"vllm"` or `"transformers"`. Default: vLLM where it is installed and there is a GPU.
        base_url (`str`, *optional*):
            Address of a server with OpenAI's interface, such as `http://localhost:8000/v1`; `models` are then what it
            calls them.
        vllm_gpu_memory_utilization (`float`, *optional*):
            Share of the GPU's memory that vLLM takes. vLLM's own default: 0.92.
        prompt_format (`str`, *optional*):
            `"plain"` sends the bare text of the prompts. Default: as the set has them.
        chat_template_kwargs (`str`, *optional*):
            JSON with further arguments of the chat template.
        require_think (`bool`, *optional*):
            Whether an answer that is not behind `</think>` is wrong. True, as in the paper's training.
        report (`bool`, *optional*, defaults to `False`):
            Sample nothing; make the tables from what is in `output`, beside the paper's.
        view (`bool`, *optional*, defaults to `False`):
            At the end, show the logs in a browser, until Ctrl-C.
        bundle (`str`, *optional*):
            At the end, write the same as static pages into this folder.
    """

    models: list[str] = field(default_factory=list, metadata={"help": "Hub ids (name@revision) or folders."})
    benchmarks: list[str] = field(
        default_factory=list, metadata={"help": f"{', '.join(BENCHMARKS)}, files, or hub ids (name:split)."}
    )
    data: str | None = _option(None, "Folder with the files of the six benchmarks. Default: the hub.")
    output: str = _option("runs/eval", "Folder for the logs and the tables.")
    samples: int | None = _option(None, "Samples for each problem. Default: 16, or the recipe's.")
    limit: int | None = _option(None, "Only the first problems of each set.")
    temperature: float | None = _option(None, "Default: 0.6, or the recipe's. 0 takes the likeliest token.")
    top_p: float | None = _option(None, "Default: 0.95, or the recipe's.")
    top_k: int | None = _option(None, "Default: 0 (all tokens), or the recipe's.")
    max_new_tokens: int | None = _option(None, "Longest answer. Default: 8192, or the recipe's.")
    batch_size: int | None = _option(None, "Samples that are made at once. Default: 32, with vLLM or a server 512.")
    seed: int = _option(0, "Decides which samples are drawn.")
    dtype: str | None = _option(
        None,
        "Precision of the weights. Default: bfloat16, float32 on a CPU.",
        choices=["float32", "bfloat16", "float16"],
    )
    backend: str = _option(
        "auto", "Default: vllm where it is installed and there is a GPU.", choices=["auto", "vllm", "transformers"]
    )
    base_url: str | None = _option(
        None, "A server's address, http://HOST:PORT/v1; models are then what it calls them."
    )
    vllm_gpu_memory_utilization: float | None = _option(
        None, "Share of the GPU's memory that vLLM takes, of which as much must be free. Default: vLLM's, 0.92."
    )
    prompt_format: str | None = _option(
        None, "plain sends the bare text of the prompts. Default: as the set has them.", choices=["plain"]
    )
    chat_template_kwargs: str | None = _option(None, "JSON for the chat template.")
    require_think: bool | None = _option(None, "Whether an answer must be behind </think>. Default: true.")
    report: bool = _option(False, "Sample nothing; make the tables from what is in output, beside the paper's.")
    view: bool = _option(False, "At the end, show every sample in a browser, until Ctrl-C.")
    bundle: str | None = _option(None, "At the end, write the same as static pages into this folder.")

    def __post_init__(self) -> None:
        for name in ("samples", "limit", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: {value} is not a number from 1 on.")
        share = self.vllm_gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"vllm_gpu_memory_utilization: {share} is not a share above 0 and up to 1.")
        for name in ("dtype", "vllm_gpu_memory_utilization", "chat_template_kwargs"):
            if self.base_url is not None and getattr(self, name) is not None:
                raise ValueError(f"{name}: with base_url the server decides that when it is started; leave it out.")
        if self.base_url is not None and self.backend != "auto":
            raise ValueError("backend: with base_url the server is the backend; leave it out.")
        for name in ("models", "benchmarks"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: one is named twice; leave it out.")
