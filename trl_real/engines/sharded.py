"""
Lets weights that DeepSpeed ZeRO-3 has partitioned be gathered at any time.

After some training, ZeRO-3 knows the order in which forward and backward need the parameters, and begins to gather the
next ones early. After a forward alone, as in an evaluation, those are for a backward that never comes. The next to
gather them, to send them to vLLM or to save them, fails with "Cannot partition a param in flight".
"""

from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator


def settle(accelerator: Accelerator) -> None:
    """Releases what ZeRO-3 has begun to gather. Every process has to call it; without DeepSpeed it does nothing."""
    wrapped = getattr(accelerator, "deepspeed_engine_wrapped", None)
    if wrapped is not None:
        wrapped.engine.empty_partition_cache()


def settle_before_sending(generation: Any) -> None:
    """Makes TRL's `VLLMGeneration` settle the parameters whenever it sends them to vLLM."""
    send = generation._iter_named_params

    def settled() -> Iterator[tuple[str, torch.Tensor]]:
        settle(generation.accelerator)
        yield from send()

    generation._iter_named_params = settled
