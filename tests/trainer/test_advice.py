"""Each piece of advice is given for the setting that it is about, and only then."""

import pytest
from peft import LoraConfig, get_peft_model

from tests.support.tiny import tiny_model
from trl_real import REALConfig
from trl_real.trainer.startup import advice


def sentences(lora_dropout: float = 0.0, dropout: float = 0.0, **options) -> list[str]:
    """Advice for a LoRA model and a configuration with 4 optimizer steps per generation."""
    model = tiny_model(attention_dropout=dropout)
    model = get_peft_model(model, LoraConfig(target_modules="all-linear", lora_dropout=lora_dropout))
    defaults = dict(output_dir="unused", use_cpu=True, bf16=False, report_to="none", steps_per_generation=4)
    return list(advice(model, REALConfig(**defaults | options)))


def test_good_settings_need_none():
    assert sentences() == []


def test_lora_dropout_is_said_to_be_off():
    [sentence] = [text for text in sentences(lora_dropout=0.05) if "lora_dropout=0.05 is turned off" in text]
    assert "disable_dropout=False" in sentence


def test_active_dropout_is_said_to_be_noise():
    found = sentences(lora_dropout=0.05, disable_dropout=False)
    assert len(found) == 1 and "adds noise to every score" in found[0]


@pytest.mark.parametrize(("per_generation", "iterations", "warned"), [(1, 1, True), (4, 1, False), (1, 2, False)])
def test_on_policy_settings_are_pointed_out(per_generation, iterations, warned):
    found = sentences(steps_per_generation=per_generation, num_iterations=iterations)
    assert bool(found) == warned
    assert not warned or "steps_per_generation=4" in found[0]
