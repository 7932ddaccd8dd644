"""A vLLM that samples in another precision than the model is trained in is said."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trl_real.engines.precision import other_precision


def link(sampled: torch.dtype, trained: torch.dtype, mode: str = "colocate") -> Any:
    engine = SimpleNamespace(model_config=SimpleNamespace(dtype=sampled))
    return SimpleNamespace(mode=mode, llm=SimpleNamespace(llm_engine=engine), model=SimpleNamespace(dtype=trained))


@pytest.mark.parametrize(
    ("sampled", "weights", "options", "said"),
    [
        (torch.bfloat16, torch.float32, {}, "vLLM samples in bfloat16, and the model is trained in float32"),
        (torch.bfloat16, torch.float32, {"fp16": True}, "in bfloat16, and .* trained in float16.* --dtype float16"),
        (torch.bfloat16, torch.float32, {"bf16": True}, None),  # forwards in bfloat16 of weights in float32
        (torch.bfloat16, torch.bfloat16, {}, None),
        (torch.float32, torch.float32, {}, None),
    ],
)
def test_another_precision_is_said(
    sampled: torch.dtype, weights: torch.dtype, options: dict[str, bool], said: str | None
) -> None:
    args = SimpleNamespace(**{"bf16": False, "fp16": False} | options)
    found = other_precision(link(sampled, weights), args)
    assert (found is None) == (said is None)
    assert found is None or re.search(said, found)


def test_a_server_has_an_option_of_its_own() -> None:
    args = SimpleNamespace(bf16=False, fp16=False)
    assert other_precision(link(torch.bfloat16, torch.float32, mode="server"), args) is None
