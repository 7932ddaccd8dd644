"""Layers that carry a state pack where their kernels get the ends of the rows; slow ones stand in for those here."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.zoo.architectures import build
from trl_real.step.attention import ENDS_TO_KERNELS, packed_attention, row_boundaries
from trl_real.step.obstacles import packing_obstacle as obstacle


LENGTHS = [5, 1, 9]
TRIED = [*sorted(ENDS_TO_KERNELS - {"qwen3_5_moe_text"}), "qwen3_5"]  # the last with a part for images


def slow_kernel(fallback: Callable[..., Any], axis: int, ends: str) -> Callable[..., Any]:
    """Transformers' PyTorch code on one row after another, as its kernel with the ends of the rows."""

    def kernel(*tensors: torch.Tensor, **options: Any) -> Any:
        boundaries = options.pop(ends, None)
        if boundaries is None:
            return fallback(*tensors, **options)
        lengths = boundaries.diff().tolist() if ends == "cu_seqlens" else boundaries[0].bincount().tolist()

        def parts(value: Any) -> Any:
            along = isinstance(value, torch.Tensor) and value.ndim > 2 and value.size(axis) == sum(lengths)
            return value.split(lengths, dim=axis) if along else [value] * len(lengths)

        options = {name: parts(value) for name, value in options.items()}
        outputs = [
            fallback(*row, **{name: values[index] for name, values in options.items()})
            for index, row in enumerate(zip(*map(parts, tensors), strict=True))
        ]
        if isinstance(outputs[0], tuple):
            return torch.cat([output for output, _ in outputs], dim=axis), None
        return torch.cat(outputs, dim=axis)

    return kernel


def install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    kernels = dict(causal_conv1d_fn=(2, "seq_idx"), torch_chunk_gated_delta_rule=(1, "cu_seqlens"))
    for kernel, (axis, ends) in (kernels | dict(mamba2_chunk_scan=(1, "seq_idx"))).items():
        if fallback := getattr(module, kernel, None):
            monkeypatch.setattr(module, kernel, slow_kernel(fallback.__wrapped__, axis, ends))


@pytest.mark.parametrize("name", TRIED)
@torch.no_grad()
def test_the_ends_of_rows_reach_every_kernel_of_a_hybrid(name, monkeypatch):
    model = build(name).eval().base_model  # without its head, as TRL runs it
    assert obstacle(model) is None
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, 60, (length,), generator=generator) for length in LENGTHS]
    alone = torch.cat([model(row[None]).last_hidden_state[0] for row in rows])
    packed = dict(
        input_ids=torch.cat(rows)[None], position_ids=torch.cat([torch.arange(length) for length in LENGTHS])[None]
    )
    boundaries = row_boundaries(model, LENGTHS, torch.device("cpu"))
    with packed_attention(model):
        with pytest.raises(ValueError, match="can't keep packed sequences apart without"):
            model(**packed, **boundaries)
        install(monkeypatch, name.removesuffix("_text"))
        assert (model(**packed, **boundaries).last_hidden_state[0] - alone).abs().max() < 1e-4
        del boundaries["seq_idx"]  # which some kernel of each of them reads
        assert (model(**packed, **boundaries).last_hidden_state[0] - alone).abs().max() > 1e-2
