"""Accelerate's policies of mixed precision are mended, those of a user are not. Under FSDP2: tests/trainer/."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin

from trl_real.engines.fsdp import keep_float32


LOW, FULL = torch.bfloat16, torch.float32


def mended(plugin: FullyShardedDataParallelPlugin) -> Any:
    keep_float32(SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin)))
    return plugin.mixed_precision_policy


def plugin(version: int, precision: str = "bf16") -> FullyShardedDataParallelPlugin:
    """As accelerate makes it; on a CPU, FSDP1 must not be asked to synchronize."""
    made = FullyShardedDataParallelPlugin(fsdp_version=version, sync_module_states=False)
    made.set_mixed_precision(precision)
    return made


def test_fsdp2_rounds_no_outputs_and_reduces_in_float32() -> None:
    policy = mended(plugin(2))
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (LOW, FULL, None)
    assert mended(plugin(2, "fp16")).reduce_dtype == FULL


def test_fsdp1_reduces_in_float32_and_keeps_the_frequencies_of_positions() -> None:
    policy = mended(plugin(1))
    assert (policy.param_dtype, policy.reduce_dtype, policy.buffer_dtype) == (LOW, FULL, FULL)


@pytest.mark.parametrize("version", [1, 2])
def test_another_policy_stays(version: int) -> None:
    own = plugin(version)
    own.mixed_precision_policy = wanted = replace(own.mixed_precision_policy, reduce_dtype=torch.float16)
    assert mended(own) is wanted
    assert mended(FullyShardedDataParallelPlugin(fsdp_version=2)) is None
