"""
Warnings if vLLM samples in another precision than the training, or returns log-probabilities at another temperature.

TRL has no option for the precision of a vLLM in its own processes, which it asks for processed log-probabilities; a
server has `--dtype` and `--logprobs-mode`.
"""

from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from trl import GRPOConfig


def other_precision(generation: Any, args: GRPOConfig) -> str | None:
    """A warning if vLLM, in the trainer's processes, samples in another precision than the model is trained in."""
    if generation.mode != "colocate":
        return None
    sampled = generation.llm.llm_engine.model_config.dtype
    trained = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else generation.model.dtype
    if sampled == trained:
        return None
    return (
        f"vLLM samples in {_name(sampled)}, and the model is trained in {_name(trained)}, so completions are those of "
        "a slightly different policy. vLLM uses the precision of the model's files, or bfloat16 if they are in "
        "float32. Write bf16=True, or save the model in the precision of the training, or write vllm_mode='server' "
        f"and start `vllm serve --dtype {_name(trained)}`."
    )


def other_logprobs(generation: Any, mismatch_limit: float | None) -> str | None:
    """
    A warning, or with a `mismatch_limit` a `ValueError`, if a vLLM server returns log-probabilities at another
    temperature than that of sampling. Every process has to call it; the main one asks the server.

    At temperature 1 unprocessed ones are fine: like the trainer's, they are those before `top_p` and the like.
    """
    if generation.mode != "server":
        return None
    found = [None]
    if generation.accelerator.is_main_process:
        found = [generation.vllm_client.get_server_info()["model_config"]["logprobs_mode"]]
    [kind] = broadcast_object_list(found)
    if kind == "processed_logprobs" or (kind == "raw_logprobs" and generation.temperature == 1.0):
        return None
    sentence = (
        f"The vLLM server returns `{kind}`, not log-probabilities at temperature {generation.temperature}, so they "
        "differ from the trainer's even for the same model. Start it with `vllm serve --logprobs-mode "
        "processed_logprobs`"
    )
    if mismatch_limit is not None:
        raise ValueError(f"`mismatch_limit`: {sentence}, or omit `mismatch_limit`.")
    return f"{sentence}; otherwise the metrics `mismatch/...` mean nothing."


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
