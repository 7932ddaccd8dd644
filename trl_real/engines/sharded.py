"""
Makes weights that DeepSpeed ZeRO-3 has cut up fit to be gathered.

In: the accelerator of a trainer. Out: no parameter is under way. With a training behind it, ZeRO-3 knows the order in
which forward and backward need the parameters, and begins to gather the next ones early: after a forward alone, as in
an evaluation, those of a backward that never comes. Whoever gathers them then, to send them to vLLM or to save them,
ends in "Cannot partition a param in flight". Left out: FSDP, which begins nothing.
"""

from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator


def settle(accelerator: Accelerator) -> None:
    """Ends what ZeRO-3 has begun to gather. Every process has to call it; without DeepSpeed nothing happens."""
    wrapped = getattr(accelerator, "deepspeed_engine_wrapped", None)
    if wrapped is not None:
        wrapped.engine.empty_partition_cache()


def settle_before_sending(generation: Any) -> None:
    """
    Lets TRL settle the parameters whenever it sends them to vLLM.

    Args:
        generation ([`~trl.generation.vllm_generation.VLLMGeneration`]):
            Of the trainer.
    """
    send = generation._iter_named_params

    def settled() -> Iterator[tuple[str, torch.Tensor]]:
        settle(generation.accelerator)
        yield from send()

    generation._iter_named_params = settled
