"""Packed rows: each is computed as if it were alone, a model that cannot do so is found out and padded instead."""

import logging
import re

import pytest
import torch
from peft import LoraConfig, PeftType, PromptTuningConfig, get_peft_model

from tests.step.test_trial import over_all_rows
from tests.support.cuts import ROWS, train_cut, trainer_for
from tests.support.tiny import tiny_model
from tests.support.trainers import tiny_llama
from tests.trainer.test_exactness import TOLERANCE, distance
from tests.zoo import architectures
from trl_real.step import attention as packing
from trl_real.step.attention import ROW_BY_ROW, packed_attention, row_boundaries
from trl_real.step.obstacles import packing_obstacle as obstacle


# One for each way in which rows could meet: full attention, absolute positions, a window, a soft cap, sinks, images
MODELS = ["qwen2", "gpt2", "mistral, window of 4", "gemma2", "gpt_oss", "qwen2_vl"]


@pytest.mark.parametrize("lengths", [[5, 1, 9], [5, 5, 5]])
@pytest.mark.parametrize(("name", "attention"), [*((name, None) for name in MODELS), ("llama", "eager")])
def test_packed_rows_are_computed_as_if_alone(name, attention, lengths):
    model = architectures.build(name, attention).eval()
    implementation = model.config.get_text_config()._attn_implementation
    assert obstacle(model) is None
    rows = [torch.randint(63, (length,)) for length in lengths]
    alone = torch.cat([model(row[None]).logits[0] for row in rows])
    with packed_attention(model):
        positions = torch.cat([torch.arange(length) for length in lengths])[None]
        boundaries = row_boundaries(model, lengths, torch.device("cpu"))
        packed = model(torch.cat(rows)[None], position_ids=positions, **boundaries).logits[0]
    assert model.config.get_text_config()._attn_implementation == implementation  # generation goes on as before
    assert (alone - packed).abs().max() < 1e-5
    leaking = model(torch.cat(rows)[None], attention_mask=torch.ones(1, 15), position_ids=positions).logits[0]
    assert (alone - leaking).abs().max() > 0.1  # what a leak would look like


def test_a_model_that_leaks_is_found_out_and_padded(monkeypatch, caplog):
    base, _ = train_cut(dict(batch=ROWS, steps=4))
    monkeypatch.setitem(packing.AttentionInterface._global_mapping, ROW_BY_ROW, over_all_rows)
    with caplog.at_level(logging.WARNING, logger="trl_real"):
        padded, _ = train_cut(dict(batch=4, steps=4))
    assert distance(base, padded) < TOLERANCE
    assert sum("a row changes its neighbor" in record.message for record in caplog.records) == 1
    with pytest.raises(ValueError, match="`pack_rollouts=True` does not work here: a row changes its neighbor"):
        train_cut(dict(batch=4, steps=4, options=dict(pack_rollouts=True)))


def test_a_window_that_is_forgotten_is_found_out_by_a_row_that_is_longer(monkeypatch):
    """The shortest rollouts are no longer than the window of 4, so that they are the same with and without it."""

    def without_window(*tensors, row_lengths, sliding_window, **kwargs):
        return packing.row_by_row(*tensors, row_lengths=row_lengths, **kwargs)

    monkeypatch.setitem(packing.AttentionInterface._global_mapping, ROW_BY_ROW, without_window)
    trainer = trainer_for(dict(batch=ROWS, max_steps=1, build=lambda: architectures.build("mistral, window of 4")))
    trainer.train()
    assert "not computed as if alone" in trainer._phase.choice.why_padded


def test_a_backward_that_recomputes_activations_keeps_the_rows_apart():
    # The recomputation looks the attention up again: outside of `packed_attention` it would be over all rows
    trained, _ = train_cut(dict(batch=ROWS, steps=4, checkpointing=True, options=dict(pack_rollouts=True)))
    expected, _ = train_cut(dict(batch=ROWS, steps=4, options=dict(pack_rollouts=False)))
    assert distance(trained, expected) < TOLERANCE


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: architectures.build("mamba"), "carries a state from token to token"),
        (lambda: tiny_model(attn_implementation="flex_attention"), "flex_attention, not sdpa, eager or flash_attenti"),
        (lambda: architectures.build("lfm2"), "its conv layers do not keep rows apart"),
        (lambda: architectures.build("bloom"), "it has its own attention code"),
        (
            lambda: get_peft_model(tiny_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)),
            "prompt learning puts virtual tokens in front of a row",
        ),
    ],
)
def test_models_that_cannot_be_packed_are_told_by_their_settings(make, reason):
    assert re.search(reason, obstacle(make()))


def test_compiled_models_and_adapters_that_were_not_tried_are_padded():
    """No trial would show the effect of an adapter."""
    assert "compile again" in obstacle(tiny_model(), torch_compile=True)
    model = get_peft_model(tiny_model(), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    assert obstacle(model) is None
    model.peft_config["default"].peft_type = PeftType.ADAMSS
    assert obstacle(model) == "it is not known whether a ADAMSS adapter changes each token by itself"
    model.peft_config["default"].peft_type = PeftType.LORA
    model.peft_config["default"].alora_invocation_tokens = [5]
    assert "invocation tokens" in obstacle(model)


def test_asking_for_the_impossible_is_an_error_at_construction(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    options = dict(pack_rollouts=True, model_init_kwargs=dict(attn_implementation="flex_attention"))
    with pytest.raises(ValueError, match="`pack_rollouts=True` does not work here: attn_implementation is flex_att"):
        trainer_for(dict(batch=16, path=str(tmp_path), options=options))


def test_flash_attention_does_not_keep_other_layers_apart():
    model = tiny_model()
    model.config._attn_implementation = "flash_attention_2"
    model.config.layer_types = ["full_attention", "sliding_attention"]
    assert obstacle(model) is None
    model.config.layer_types = ["full_attention", "linear_attention"]
    assert obstacle(model) == "its linear_attention layers do not keep rows apart"


def test_dropout_that_is_no_module_is_turned_off_too(tmp_path):
    tiny_llama(attention_dropout=0.5).save_pretrained(tmp_path)
    trainer = trainer_for(dict(batch=ROWS, path=str(tmp_path)))
    ids = torch.arange(2, 14)[None]
    trainer.model.train()
    first, second = (trainer.model(ids).logits for _ in range(2))
    assert torch.equal(first, second)
