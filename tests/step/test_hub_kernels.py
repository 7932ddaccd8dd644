"""FlashAttention that Transformers loads as a kernel of the hub, whose name is known at run time only."""

from functools import partial
from typing import Any

import pytest
import torch
from transformers import AttentionInterface

from tests.step.test_prefixes import outputs_and_gradient
from tests.support.cuts import ROWS, train_cut
from tests.support.flash import install_from_hub
from tests.support.tiny import tiny_model
from tests.trainer.test_exactness import TOLERANCE, distance
from trl_real.compat import sdpa_attention_forward
from trl_real.step.layouts import pack_rollouts
from trl_real.step.obstacles import packing_obstacle, sharing_obstacle


# What is asked for, and the repository where Transformers finds it
KERNELS = {
    "flash_attention_2": "kernels-community/flash-attn2",  # without the package flash-attn
    "kernels-community/vllm-flash-attn3": "kernels-community/vllm-flash-attn3",
    "someone/own-flash@main": "someone/own-flash",
}


@pytest.mark.parametrize("name", KERNELS)
def test_it_trains_what_sdpa_trains(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    asked = install_from_hub(monkeypatch)
    model = tiny_model(attn_implementation=name)
    assert packing_obstacle(model) is None and sharing_obstacle(model) is None

    def train(attention: str, **options: Any) -> dict[str, torch.Tensor]:
        build = partial(tiny_model, attn_implementation=attention)
        return train_cut(dict(batch=ROWS, steps=2, max_steps=2, build=build, options=options))[0]

    expected = train("sdpa", share_prompts=False)
    for shared in (True, False):
        assert distance(expected, train(name, pack_rollouts=True, share_prompts=shared)) < TOLERANCE, shared
    assert asked == {KERNELS[name]}  # never by the name that stands there while prompts are shared
    said = capsys.readouterr().out
    assert "packed, prompts shared |" in said and "packed, prompts not shared" in said


def test_a_kernel_with_a_function_of_its_own_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def own(module: Any, *tensors: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        called.append(module.config._attn_implementation)
        return sdpa_attention_forward(module, *tensors)

    monkeypatch.setitem(AttentionInterface._global_mapping, "own_flash", own)
    model = tiny_model(attn_implementation="sdpa")
    model.config._attn_implementation = "own_flash"
    outputs_and_gradient(model, pack_rollouts, autocast=False)
    assert called == ["own_flash"] * model.config.num_hidden_layers
    assert model.config._attn_implementation == "own_flash"
