"""Forwards without a gradient turn gradient checkpointing off and on again, and leave nothing behind."""

from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from torch import nn
from transformers import TrainerCallback

from tests.support.cuts import train_cut
from tests.support.tiny import prompts_dataset, tiny_model
from tests.support.trainers import config, trainer
from trl_real.engines.checkpointing import without_checkpointing
from trl_real.step.forwards import Forwards


def checkpointed(model: nn.Module) -> list[bool]:
    return [getattr(module, "gradient_checkpointing", False) for module in model.modules()]


@pytest.mark.parametrize("lora", [False, True])
def test_no_hooks_pile_up_with_gradient_checkpointing(tmp_path: Path, lora: bool) -> None:
    """Generation by Transformers, old log-probabilities, scores of steps in several micro-steps, and evaluation."""
    options = dict(gradient_checkpointing=True, num_generations=8, max_steps=20, beta=0.1 if lora else 0.0)
    args = config(tmp_path, eval_strategy="steps", eval_steps=5, per_device_eval_batch_size=8, **options)
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None
    run = trainer(tmp_path, args=args, eval_dataset=prompts_dataset(2), peft_config=adapter)
    counts = []

    class CountHooks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
            counts.append(sum(len(module._forward_hooks) for module in model.modules()))

    run.add_callback(CountHooks)
    run.train()
    assert len(counts) == 20 and set(counts) == {counts[0]}
    assert any(checkpointed(run.model))


@pytest.mark.parametrize("options", [dict(num_generations=16), dict(mismatch_limit=150.0)])
def test_logps_and_scores_are_computed_without_it(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    seen, policy_logps = [], Forwards.policy_logps

    def spy(self: Forwards, batch: Any) -> Any:
        if self.policy.training:  # in evaluation mode, as in the trial, nothing recomputes
            seen.append(any(checkpointed(self.policy)))
        return policy_logps(self, batch)

    monkeypatch.setattr(Forwards, "policy_logps", spy)
    train_cut(dict(batch=2, steps=2, max_steps=2, checkpointing=True, options=options))
    assert seen and not any(seen)


def test_the_layers_that_were_checkpointed_are_again_even_after_an_error() -> None:
    model = tiny_model()
    model.activation_checkpointing_enable(every_n_layers=2)
    before = checkpointed(model)
    with pytest.raises(RuntimeError, match="inside"), without_checkpointing(model):
        assert not any(checkpointed(model))
        raise RuntimeError("inside")
    assert checkpointed(model) == before and any(before)
