"""Which models are under reentrant checkpointing, and what it cannot train; its gradients: tests/settings."""

import pytest
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.support.cuts import train_cut, trainer_for
from tests.support.tiny import tiny_model
from tests.trainer.test_exactness import distance
from trl_real.engines.backwards import is_reentrant


@pytest.mark.parametrize("adapter", [False, True])
def test_the_model_says_whether_it_is_reentrant_whoever_asked_for_it(adapter: bool) -> None:
    model = get_peft_model(tiny_model(), LoraConfig(target_modules="all-linear")) if adapter else tiny_model()
    assert not is_reentrant(model)
    for asked, effective in ((None, False), (dict(use_reentrant=True), True), (dict(use_reentrant=False), False)):
        model.gradient_checkpointing_enable(asked)
        assert is_reentrant(model) is effective
    model.gradient_checkpointing_enable(dict(use_reentrant=True))
    model.gradient_checkpointing_disable()
    assert not is_reentrant(model)


def test_a_layer_that_calls_pytorchs_checkpointing_by_itself_is_reentrant_as_that_is_by_default() -> None:
    layer = nn.Linear(1, 1)
    layer.gradient_checkpointing = True
    assert is_reentrant(layer)


def test_a_balance_loss_that_has_no_gradient_is_refused() -> None:
    reentrant = dict(gradient_checkpointing_kwargs=dict(use_reentrant=True))
    trainer = trainer_for(dict(batch=16, moe=True, checkpointing=True, options=reentrant))
    with pytest.raises(ValueError, match="`router_aux_loss_coef`: reentrant checkpointing leaves the balance loss"):
        trainer.train()
    sgd = dict(optim="sgd", max_grad_norm=0.0, learning_rate=0.03, router_aux_loss_coef=0.0)
    cut = dict(batch=16, moe=True, max_steps=1)
    plain, _ = train_cut(cut | dict(options=sgd))
    checkpointed, _ = train_cut(cut | dict(checkpointing=True, options=sgd | reentrant))
    assert distance(plain, checkpointed) < 0.03 * 1e-4
