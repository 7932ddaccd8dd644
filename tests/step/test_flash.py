"""Packed rows and shared prompts on Transformers' way to FlashAttention, whose kernel is the formula here."""

import logging
from functools import partial
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.step.test_prefixes import logits, outputs_and_gradient, two_families
from tests.support.cuts import train_cut
from tests.support.flash import NAME, flash_attn_varlen_func, flash_model, install
from tests.support.tiny import tiny_model
from tests.trainer.test_exactness import TOLERANCE, distance
from trl_real.step.attention import PREFIXED, packed_attention, row_boundaries
from trl_real.step.layouts import pack_rollouts, share_prompts
from trl_real.step.obstacles import sharing_obstacle as obstacle


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@torch.no_grad()
@pytest.mark.parametrize("layout", [pack_rollouts, share_prompts])
def test_a_rollout_is_computed_as_if_alone(layout: Any) -> None:
    model = flash_model()
    assert obstacle(model) is None
    batch = layout(two_families(), pad_token_id=0)
    with packed_attention(model, shared=True):
        together = logits(model, batch)
    assert model.config._attn_implementation == NAME
    assert row_boundaries(model, batch.row_lengths, torch.device("cpu"))["cu_seq_lens_q"].dtype == torch.int32
    for row, found in zip(two_families(), together, strict=True):
        ids = torch.cat([row.prompt_ids, row.completion_ids])[None]
        for alone in (flash_model(), tiny_model(attn_implementation="sdpa")):
            assert (alone(ids).logits[0] - found).abs().max() < 1e-5


def test_under_autocast_the_kernel_gets_tensors_of_one_precision() -> None:
    """Of layers with weights in float32, where positions leave queries and keys in float32 too."""
    whole, shared = (outputs_and_gradient(flash_model(), layout, True) for layout in (pack_rollouts, share_prompts))
    for expected, found in zip(whole, shared, strict=True):
        assert (found - expected).norm() <= 0.01 * expected.norm()


@pytest.mark.parametrize("feature", [{}, dict(checkpointing=True, lora=True, options=dict(beta=0.2, kl_target="old"))])
def test_it_trains_what_sdpa_trains(feature: dict[str, Any], capsys: pytest.CaptureFixture) -> None:
    cut = dict(batch=4, steps=2, max_steps=2) | feature

    def train(build: Any, **options: Any) -> dict[str, torch.Tensor]:
        return train_cut(cut | dict(build=build, options=cut.get("options", {}) | options))[0]

    expected = train(partial(tiny_model, attn_implementation="sdpa"), share_prompts=False)
    for shared in (True, False, None):
        assert distance(expected, train(flash_model, share_prompts=shared)) < TOLERANCE, shared
    assert capsys.readouterr().out.count("packed, prompts shared |") == 2


def test_forwards_with_and_without_shared_prompts_are_recomputed_in_one_backward() -> None:
    """Of one micro-step: a forward that saves nothing has whole rows."""

    def gradient(model: PreTrainedModel, checkpointing: bool) -> dict[str, torch.Tensor]:
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
        with packed_attention(model, shared=True):
            total = torch.zeros(())
            for layout in (share_prompts, pack_rollouts):
                outputs = logits(model, layout(two_families(), pad_token_id=0))
                total = total + sum(part.square().mean() for part in outputs)
            total.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    expected = gradient(tiny_model(attn_implementation="sdpa"), checkpointing=False)
    assert max(value.abs().max() for value in expected.values()) > 0.01
    assert distance(expected, gradient(flash_model(), checkpointing=True)) < 1e-5


def test_an_incorrect_mask_is_found_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    install(monkeypatch, partial(flash_attn_varlen_func, first_to_first=True))
    cut = dict(batch=8, steps=4, max_steps=2)
    with caplog.at_level(logging.WARNING, logger="trl_real"):
        trained, _ = train_cut(cut | dict(build=flash_model))
    assert sum("computes its own prompt" in record.message for record in caplog.records) == 1
    assert distance(trained, train_cut(cut)[0]) < TOLERANCE


def test_the_name_is_restored_where_the_kernel_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, causal: bool = False, **kwargs: Any) -> torch.Tensor:
        raise RuntimeError("no such kernel")

    install(monkeypatch, fail)
    model = flash_model()
    with packed_attention(model, shared=True):
        with pytest.raises(RuntimeError, match="no such kernel"):
            logits(model, share_prompts(two_families(), pad_token_id=0))
        assert model.config._attn_implementation == PREFIXED + NAME


def test_its_stand_in_stays_where_it_stands_already() -> None:
    """A forward inside of the context that holds its backward."""
    model = flash_model()
    with packed_attention(model):
        assert model.config._attn_implementation == NAME
    with packed_attention(model, shared=True), packed_attention(model, shared=True):
        assert model.config._attn_implementation == PREFIXED + NAME
