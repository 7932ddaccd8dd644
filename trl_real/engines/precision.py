"""
In which precision vLLM samples.

In: TRL's link to vLLM and the trainer's configuration. Out: a sentence where the model is trained in another one. Left
out: a server, which has `--dtype`. TRL passes a vLLM in its own processes no precision, and has no option for it.
"""

from typing import Any

import torch
from trl import GRPOConfig


def other_precision(generation: Any, args: GRPOConfig) -> str | None:
    """
    What to say of a vLLM that samples in another precision than the model is trained in; `None` if it does not.

    Args:
        generation ([`~trl.generation.vllm_generation.VLLMGeneration`]):
            Of the trainer.
        args ([`~trl.GRPOConfig`]):
            Its configuration.
    """
    if generation.mode != "colocate":
        return None
    sampled = generation.llm.llm_engine.model_config.dtype
    trained = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else generation.model.dtype
    if sampled == trained:
        return None
    return (
        f"vLLM samples in {_name(sampled)}, and the model is trained in {_name(trained)}, so completions are those of "
        "a slightly different policy. vLLM takes the precision of the model's files, but bfloat16 where they are in "
        "float32. Write bf16=True, or save the model in the precision of the training, or take vllm_mode='server' "
        f"with `vllm serve --dtype {_name(trained)}`."
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
