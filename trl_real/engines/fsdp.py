"""
Keeps log-probabilities and gradients in float32 where FSDP computes in lower precision.

Accelerate's policy of mixed precision, for which its configuration has no option, rounds what the model returns:
log-probabilities, whose differences are the scores. It also sums gradients over processes in lower precision, and
FSDP1 rounds the frequencies of rotary positions. Left out: policies that the user sets.
"""

from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.fsdp import FSDPModule, MixedPrecision, MixedPrecisionPolicy
from transformers import PreTrainedModel


def keep_float32(accelerator: Accelerator) -> None:
    """Corrects the policy that Accelerate derives from its `mixed_precision`; without FSDP it does nothing."""
    plugin: Any = getattr(accelerator.state, "fsdp_plugin", None)
    policy = getattr(plugin, "mixed_precision_policy", None)
    if policy is None or policy.param_dtype is None:
        return
    low, full = policy.param_dtype, torch.float32
    if policy == MixedPrecisionPolicy(low, reduce_dtype=low, output_dtype=low):
        plugin.mixed_precision_policy = replace(policy, reduce_dtype=full, output_dtype=None)
    elif policy == MixedPrecision(low, reduce_dtype=low, buffer_dtype=low):
        plugin.mixed_precision_policy = replace(policy, reduce_dtype=full, buffer_dtype=full)


def gather_head_once(model: PreTrainedModel) -> None:
    """
    Gathers the language model head briefly, before the first backward. Every process has to call it.

    TRL's loss reads the head's weight without a forward of the head. A backward that leaves its gradients for a later
    reduction in float32 fails at parameters that FSDP2 has never gathered; with an adapter, the head's are among them.
    """
    head = model.get_output_embeddings()
    if isinstance(head, FSDPModule):
        head.unshard()
        head.reshard()
