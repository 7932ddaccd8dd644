"""Each piece of advice is given for the setting that it is about, and only then."""

from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from trl.trainer.utils import disable_dropout_in_model

from tests.support.tiny import tiny_model
from trl_real import REALConfig
from trl_real.trainer.startup import advice


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        (dict(lora_dropout=0.05), ["lora_dropout=0.05 is turned off", "disable_dropout=False"]),
        (dict(lora_dropout=0.05, disable_dropout=False), ["adds noise to every score"]),
        (dict(steps_per_generation=1), ["steps_per_generation=4"]),  # on policy
        (dict(steps_per_generation=1, num_iterations=2), []),
    ],
)
def test_advice_is_given_for_the_setting_that_it_is_about(options: dict[str, Any], words: list[str]) -> None:
    lora = LoraConfig(target_modules="all-linear", lora_dropout=options.pop("lora_dropout", 0.0))
    defaults = dict(output_dir="unused", use_cpu=True, bf16=False, report_to="none", steps_per_generation=4)
    args = REALConfig(**defaults | options)
    model = get_peft_model(tiny_model(), lora)
    if args.disable_dropout:
        disable_dropout_in_model(model)  # as TRL has by then
    found = list(advice(model, args))
    assert len(found) == bool(words) and all(word in found[0] for word in words)
