"""
Backwards over several forwards under DDP and DeepSpeed: whether each forward needs its own, and one that leaves its
gradients for a later one to synchronize. FSDP2 adds up whatever comes.
"""

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import nn


def one_forward_per_backward(accelerator: Accelerator, model: nn.Module) -> bool:
    """
    Whether a backward over several forwards would be wrong.

    Reentrant checkpointing passes a parameter its gradient once per forward, not as a sum. DDP and DeepSpeed expect it
    once per backward: most of them fail, and ZeRO-3 may keep the gradient of only one forward.
    """
    deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
    return (deepspeed or (accelerator.use_distributed and not accelerator.is_fsdp2)) and is_reentrant(model)


def is_reentrant(model: nn.Module) -> bool:
    """Whether any layer is currently under reentrant checkpointing, whoever enabled it."""
    checkpointed = (module for module in model.modules() if getattr(module, "gradient_checkpointing", False))
    functions = (getattr(module, "_gradient_checkpointing_func", None) for module in checkpointed)
    # A layer that calls PyTorch's function by itself has no such attribute, and PyTorch's default is reentrant
    return any(getattr(function, "keywords", {}).get("use_reentrant", True) for function in functions)


def backward_without_sync(accelerator: Accelerator, model: Any, forward: Callable[[], torch.Tensor]) -> torch.Tensor:
    """
    A forward, which returns the loss, and its backward, whose gradients wait on this process for those of a later one.
    `model` is as it is wrapped for training. Returns the loss without gradient.
    """
    # As in Transformers: DeepSpeed must not divide a mean over the optimizer step by its micro-steps again
    options = {"scale_wrt_gas": False} if accelerator.distributed_type == DistributedType.DEEPSPEED else {}
    synchronizes, accelerator.sync_gradients = accelerator.sync_gradients, False
    try:
        with accelerator.no_sync(model):
            loss = forward()
            accelerator.backward(loss, **options)
    finally:
        accelerator.sync_gradients = synchronizes
    return loss.detach()
