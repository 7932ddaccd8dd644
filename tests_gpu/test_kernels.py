"""Products, attention on packed rows and shared prompts, and the sum over all GPUs, each by itself."""

import json
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.support.scripts import python
from tests.support.tiny import tiny_model
from tests_gpu.machine import GPUS, SIZE, Record
from trl_real.cli.layout_trial import try_layouts


# Of the largest entry: the result has 8 bits, and the sum inside has to be in float32
OFF = 2**-7


def test_a_product_in_bfloat16_adds_in_float32(record_property: Record) -> None:
    device, size = ("cuda", 8192) if GPUS else ("cpu", 256)
    torch.manual_seed(0)
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    exact = left.float() @ right.float()
    error = ((left @ right).float() - exact).abs().max() / exact.abs().max()  # after which the device has no work left
    start = time.perf_counter()
    for _ in range(10):
        product = left @ right
    product.sum().item()
    record_property("teraflops", 20e-12 * size**3 / (time.perf_counter() - start))
    record_property("error", error.item())
    assert error <= OFF


@pytest.mark.parametrize("attention", ["sdpa", "flash_attention_2"])
def test_packed_rows_and_shared_prompts_are_computed_as_padded_rows(attention: str, record_property: Record) -> None:
    if attention == "flash_attention_2" and not (GPUS and find_spec("flash_attn")):
        pytest.skip("needs a GPU and flash-attn (pip install flash-attn)")
    trial = try_layouts(tiny_model(**SIZE, attn_implementation=attention))
    record_property("trial", trial._asdict())
    assert (trial.layout, trial.confirmed) == ("packed, prompts shared", True)


def test_the_sum_over_all_gpus_is_exact(processes: int, tmp_path: Path, record_property: Record) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    run = python(*launcher, "--module", "tests_gpu.collective", str(tmp_path / "found.json"))
    assert run.returncode == 0, run.stderr[-6000:]
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    record_property("sum", found)
    assert found["processes"] == processes and found["wrong"] == 0
