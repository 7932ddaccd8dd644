"""Rows on both sides of a length where positions change are kept apart, or refused."""

import pytest

from tests.support.cuts import ROWS, train_cut, trainer_for
from tests.trainer.test_exactness import TOLERANCE, distance
from tests.zoo.architectures import build
from trl_real.step.obstacles import PositionLimit, position_limit


LONGROPE = "phi3, longrope"  # its positions change beyond 10 tokens


def narrow_dynamic():
    model = build("llama, dynamic rope")
    model.config.max_position_embeddings = 10
    return model


def test_the_limit_is_read_from_the_configuration_of_any_kind_of_layer():
    assert position_limit(build("llama")) is None
    assert position_limit(build(LONGROPE)) == PositionLimit(10, refuses_longer=False)
    assert position_limit(build("llama, dynamic rope")) == PositionLimit(64, refuses_longer=True)
    model = build("gemma3_text")
    usual, long = dict(rope_type="default", rope_theta=1e4), dict(rope_type="longrope")
    model.config.rope_parameters = dict(
        sliding_attention=usual, full_attention=long | dict(original_max_position_embeddings=20)
    )
    assert position_limit(model) == PositionLimit(20, refuses_longer=False)


@pytest.mark.parametrize("pack", [None, False])
def test_rows_on_both_sides_of_the_limit_train_the_same_in_every_cut(pack, monkeypatch):
    cut = dict(steps=2, max_steps=2, options=dict(pack_rollouts=pack), build=lambda: build(LONGROPE))
    wide, _ = train_cut(cut | dict(batch=ROWS))
    assert distance(wide, train_cut(cut | dict(batch=4))[0]) < TOLERANCE
    monkeypatch.setattr("trl_real.step.choice.position_limit", lambda model: None)
    assert distance(wide, train_cut(cut | dict(batch=ROWS))[0]) > 100 * TOLERANCE


def entropy_in_evaluation(batch: int) -> float:
    options = dict(per_device_eval_batch_size=batch)
    trainer = trainer_for(dict(batch=ROWS, eval=8, options=options, build=lambda: build(LONGROPE)))
    return trainer.evaluate()["eval_entropy"]


def test_evaluation_keeps_them_apart_too(monkeypatch):
    narrow = entropy_in_evaluation(4)
    assert entropy_in_evaluation(32) == pytest.approx(narrow, abs=1e-5)
    monkeypatch.setattr("trl_real.step.choice.position_limit", lambda model: None)
    assert entropy_in_evaluation(32) != pytest.approx(narrow, abs=1e-3)


def test_completions_that_can_only_be_too_long_are_refused_at_the_start():
    with pytest.raises(ValueError, match="65 tokens is longer than the model's 64.*Lower `max_completion_length`"):
        trainer_for(
            dict(batch=ROWS, options=dict(max_completion_length=64), build=lambda: build("llama, dynamic rope"))
        )


def test_a_rollout_that_is_too_long_is_refused_when_it_comes():
    trainer = trainer_for(dict(batch=ROWS, options=dict(max_completion_length=8), build=narrow_dynamic))
    with pytest.raises(ValueError, match="longer than the model's 10, and its rope_type 'dynamic'"):
        trainer.train()


def test_padding_to_a_multiple_may_not_carry_a_row_over_the_limit():
    options = dict(max_completion_length=8, pad_to_multiple_of=8)
    with pytest.raises(ValueError, match="`pad_to_multiple_of`=8 pads rows of up to 10 tokens"):
        trainer_for(dict(batch=ROWS, options=options, build=lambda: build(LONGROPE)))
