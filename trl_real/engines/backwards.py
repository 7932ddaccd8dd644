"""
What DDP and DeepSpeed make of a backward over several forwards.

In: the accelerator and the model of a trainer. Out: whether every forward needs a backward of its own, and one that
leaves its gradients for a later one to synchronise. Left out: which rollouts share a forward (`step/plan.py`), and
FSDP2, which adds up what comes.
"""

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import nn


def one_forward_per_backward(accelerator: Accelerator, model: nn.Module) -> bool:
    """
    Whether a backward over several forwards would be wrong.

    Reentrant checkpointing hands a parameter its gradient once per forward and not as a sum. DDP and DeepSpeed reckon
    with once per backward: most of them fail, and ZeRO-3 may keep the gradient of one forward alone.
    """
    deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
    return (deepspeed or (accelerator.use_distributed and not accelerator.is_fsdp2)) and is_reentrant(model)


def is_reentrant(model: nn.Module) -> bool:
    """Whether any layer is under reentrant checkpointing as the model is now, whoever asked for it."""
    checkpointed = (module for module in model.modules() if getattr(module, "gradient_checkpointing", False))
    functions = (getattr(module, "_gradient_checkpointing_func", None) for module in checkpointed)
    # Where a model's own code calls PyTorch's function there is none to ask, and PyTorch's default is reentrant
    return any(getattr(function, "keywords", {}).get("use_reentrant", True) for function in functions)


def backward_without_sync(accelerator: Accelerator, model: Any, forward: Callable[[], torch.Tensor]) -> torch.Tensor:
    """
    A forward and its backward, whose gradients wait on this process for those of a later backward.

    Args:
        accelerator ([`~accelerate.Accelerator`]):
            Of the trainer.
        model (`Any`):
            As it is wrapped for training.
        forward (`Callable`):
            Gives the loss.

    Returns:
        `torch.Tensor`: The loss, without gradient.
    """
    # As Transformers: DeepSpeed must not divide a mean over the optimizer step by its micro-steps again
    options = {"scale_wrt_gas": False} if accelerator.distributed_type == DistributedType.DEEPSPEED else {}
    synchronizes, accelerator.sync_gradients = accelerator.sync_gradients, False
    try:
        with accelerator.no_sync(model):
            loss = forward()
            accelerator.backward(loss, **options)
    finally:
        accelerator.sync_gradients = synchronizes
    return loss.detach()
