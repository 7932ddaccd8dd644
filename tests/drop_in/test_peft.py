"""REALTrainer trains adapters in every form that GRPOTrainer does, and nothing but the adapter."""

from functools import partial
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

from tests.support.tiny import tiny_model
from tests.support.trainers import config, logged, moved, trainer, weights


ADAPTERS = {
    "lora": partial(LoraConfig, r=4, target_modules="all-linear"),
    "dora": partial(LoraConfig, r=4, target_modules=["q_proj", "v_proj"], use_dora=True),
    "prefix": partial(PrefixTuningConfig, num_virtual_tokens=3),
    "prompt": partial(PromptTuningConfig, num_virtual_tokens=3),
}


def adapter_config(name: str = "lora") -> PeftConfig:
    return ADAPTERS[name](task_type="CAUSAL_LM")


def wrapped_model() -> torch.nn.Module:
    """A model with an adapter that already does something."""
    model, generator = get_peft_model(tiny_model(), adapter_config()), torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_peft_config_trains_the_adapter_and_leaves_the_base_bit_identical(tmp_path: Path, name: str) -> None:
    # Prefix tuning lives in the cache, which checkpointing does without
    args = config(tmp_path, max_steps=4, gradient_checkpointing=name != "prefix")
    run = trainer(tmp_path, peft_config=adapter_config(name), args=args)
    adapter, base = weights(run.model), weights(run.model, trainable=False)
    run.train()
    assert moved(adapter, weights(run.model))
    assert not moved(base, weights(run.model, trainable=False))


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_reference_of_an_adapter_is_where_it_started(tmp_path: Path, wrapped: bool) -> None:
    model = wrapped_model() if wrapped else tiny_model()
    args = config(tmp_path, beta=0.1, max_steps=4)
    run = trainer(tmp_path, model=model, peft_config=None if wrapped else adapter_config(), args=args)
    adapter, base = weights(run.model), weights(run.model, trainable=False)
    run.train()
    assert moved(adapter, weights(run.model)) and not moved(base, weights(run.model, trainable=False))
    kl = logged(run, "kl")
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert all(value > 1e-6 for value in kl[1:])
