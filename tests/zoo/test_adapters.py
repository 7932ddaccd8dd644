"""Adapters of PEFT train the same under every batching, or are refused, as docs/models.md has it."""

import pytest
from peft import PeftType, PromptTuningConfig, get_peft_model

from tests.support.cuts import trainer_for
from tests.support.tiny import tiny_model
from tests.zoo.adapters import COMMON, adapter
from tests.zoo.page import NOT_RUN, check, documented, try_adapter
from trl_real.step.obstacles import BY_TOKEN
from trl_real.validation.arguments import REFUSED_ADAPTERS as REFUSED


# Low rank and its variants, scales, rotations, prompts, norms; `python -m tests.zoo.page` trains all that there are
MECHANISMS = ["LORA", "LORA, use_dora", "LORA, modules_to_save", "IA3", "OFT", "PROMPT_TUNING", "LN_TUNING"]


@pytest.mark.parametrize("name", MECHANISMS)
def test_an_adapter_trains_the_same_under_every_batching_as_documented(name):
    trial = try_adapter(name)
    check(name, trial)
    assert trial.forwards == documented(name)


@pytest.mark.parametrize("name", REFUSED)
def test_an_adapter_that_would_depend_on_the_cut_or_fail_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"REAL cannot train .*{name}.*Write LoraConfig") as error:
        trainer_for(dict(batch=16, peft=adapter(name)))
    assert REFUSED[name] in str(error.value)
    assert documented(name) == f"refused: {REFUSED[name]}"


def test_an_adapter_that_the_model_has_already_is_refused_too():
    def build():
        return get_peft_model(tiny_model(), adapter("LILY"))

    with pytest.raises(ValueError, match="LILY"):
        trainer_for(dict(batch=16, build=build))
    prompts = PromptTuningConfig(task_type=COMMON["task_type"], num_virtual_tokens=3)
    trainer_for(dict(batch=16, build=lambda: get_peft_model(tiny_model(), prompts)))


def test_whatever_was_not_tried_is_padded():
    assert BY_TOKEN.isdisjoint(NOT_RUN) and set(REFUSED).isdisjoint(BY_TOKEN)
    assert set(BY_TOKEN) | set(REFUSED) | set(NOT_RUN) <= {kind.value for kind in PeftType}
