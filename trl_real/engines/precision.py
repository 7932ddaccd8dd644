"""
In which precision vLLM samples, and at which temperature its log-probabilities are.

In: TRL's link to vLLM and the trainer's configuration. Out: a sentence where those of the training are others. TRL
passes a vLLM in its own processes no precision, and has no option for it; a server has `--dtype`. In its own processes
it asks for log-probabilities after processing; a server has `--logprobs-mode`. Left out: the ratios themselves.
"""

from typing import Any

import torch
from accelerate.utils import broadcast_object_list
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


def other_logprobs(generation: Any, mismatch_limit: float | None) -> str | None:
    """
    What to say of a vLLM server whose log-probabilities are not those at the temperature of sampling; `None` of one
    whose are. At temperature 1 they are before processing, too, as the trainer has them: without `top_p` and the like.

    Args:
        generation ([`~trl.generation.vllm_generation.VLLMGeneration`]):
            Of the trainer. Every process has to call it; the main one asks the server.
        mismatch_limit (`float`, *optional*):
            The field of that name.

    Raises:
        `ValueError`: If there is a limit to what the sentence says.
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
        f"The vLLM server gives `{kind}`, not log-probabilities at temperature {generation.temperature}, which differ "
        "from the trainer's even for the same model. Start it with `vllm serve --logprobs-mode processed_logprobs`"
    )
    if mismatch_limit is not None:
        raise ValueError(f"`mismatch_limit`: {sentence}, or leave `mismatch_limit` out.")
    return f"{sentence}; until then the metrics `mismatch/...` say nothing."


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
