"""Reentrant checkpointing hands over a gradient per forward: each must count, where DDP and DeepSpeed take one."""

from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.support.cuts import train_cut, trainer_for
from tests.support.tiny import tiny_model
from tests.trainer.test_distributed import train_together
from tests.trainer.test_exactness import check_histograms, distance, losses
from trl_real.engines.backwards import is_reentrant


# Without clipping and Adam, so that the scale of a gradient shows: the parameters move by `RATE` times it
RATE = 0.03
TOLERANCE = 1e-4  # of the sum of two gradients, on policy and off policy, with entries up to 20
SGD = dict(optim="sgd", max_grad_norm=0.0, learning_rate=RATE)
REENTRANT = dict(gradient_checkpointing_kwargs=dict(use_reentrant=True))
# Positions change within a group, so that a micro-step has two forwards
LONGROPE = dict(rope_type="longrope", rope_theta=1e4, short_factor=[1.0] * 4, long_factor=[2.0] * 4, factor=8.0)
LONGROPE |= dict(original_max_position_embeddings=11)
# How much may wait for a reduction: less than the gradients of a forward
BUCKET = 300


def zero(stage: int) -> dict[str, Any]:
    optimization = dict(stage=stage, reduce_bucket_size=BUCKET)
    if stage == 3:
        optimization["stage3_param_persistence_threshold"] = 0
    config: dict[str, Any] = dict.fromkeys(["train_micro_batch_size_per_gpu", "gradient_accumulation_steps"], "auto")
    config |= dict(zero_optimization=optimization, zero_allow_untested_optimizer=True, gradient_clipping=0.0)
    return dict(deepspeed=config | dict(optimizer=dict(type="SGD", params=dict(lr=RATE))))


PADDED = dict(pack_rollouts=False)
# Backend and what is trained, rows per process
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "DDP, padded": (dict(options=REENTRANT | PADDED), 8),
    "DDP, LoRA, padded": (dict(lora=True, options=REENTRANT | PADDED), 8),
    "DDP, both sides of the limit": (dict(sides=True, options=REENTRANT), 4),
    "ZeRO-1, both sides of the limit": (dict(sides=True, options=REENTRANT | zero(1)), 8),
    "ZeRO-2, padded": (dict(options=REENTRANT | PADDED | zero(2)), 8),
    "ZeRO-2, both sides of the limit": (dict(sides=True, options=REENTRANT | zero(2)), 4),
    "ZeRO-3, padded": (dict(options=REENTRANT | PADDED | zero(3)), 8),
    "ZeRO-3, LoRA, padded": (dict(lora=True, options=PADDED | zero(3)), 8),
    "ZeRO-3, LoRA, both sides of the limit": (dict(lora=True, sides=True, options=zero(3)), 8),
    "ZeRO-3, LoRA, a side on one process alone": (dict(lora=True, sides=True, options=zero(3)), 2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model whose positions change with the length."""
    folder = tmp_path_factory.mktemp("longrope")
    tiny_model(rope_parameters=LONGROPE).save_pretrained(folder)
    return folder


def cut_of(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    model = dict(path=str(folder)) if case.get("sides") else {}
    return dict(steps=2, max_steps=2, lora=case.get("lora", False), options=SGD) | model


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple]:
    """Parameters and log of all cases, in one launch."""
    pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    cuts = [
        cut_of(case, folder) | dict(batch=batch, checkpointing=True, options=SGD | case["options"])
        for case, batch in CASES.values()
    ]
    return dict(zip(CASES, train_together(cuts, tmp_path_factory.mktemp("reentrant")), strict=True))


@pytest.fixture(scope="module")
def of_one_process() -> dict[str, tuple]:
    return {}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_gradient_of_one(
    name: str, folder: Path, trained: dict[str, tuple], of_one_process: dict[str, tuple]
) -> None:
    cut = cut_of(CASES[name][0], folder) | dict(batch=16)
    if str(cut) not in of_one_process:
        of_one_process[str(cut)] = train_cut(cut)
    (expected, expected_log), (parameters, log) = of_one_process[str(cut)], trained[name]
    assert parameters.keys() == expected.keys()
    for parameter, value in expected.items():
        assert (parameters[parameter] - value).abs().max() <= RATE * TOLERANCE, parameter
    assert losses(log) == pytest.approx(losses(expected_log), abs=1e-5)
    check_histograms(log, expected_log)


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
    trainer = trainer_for(dict(batch=16, moe=True, checkpointing=True, options=REENTRANT))
    with pytest.raises(ValueError, match="`router_aux_loss_coef`: reentrant checkpointing leaves the balance loss"):
        trainer.train()
    coefficient = dict(router_aux_loss_coef=0.0)
    plain, _ = train_cut(dict(batch=16, moe=True, max_steps=1, options=SGD | coefficient))
    checkpointed, _ = train_cut(
        dict(batch=16, moe=True, max_steps=1, checkpointing=True, options=SGD | coefficient | REENTRANT)
    )
    assert distance(plain, checkpointed) < RATE * TOLERANCE
