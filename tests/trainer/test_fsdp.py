"""The law under FSDP2: two processes that share the parameters have the gradient of one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.cuts import train_cut
from tests.support.fsdp import main
from tests.support.tiny import tiny_model
from tests.trainer.test_distributed import losses, train_together


# Without clipping and Adam, so that the scale of a gradient shows: the parameters move by `RATE` times it
RATE = 0.03
TOLERANCE = 1e-5  # of the sum of two gradients: on policy, then off policy
CASES: dict[str, dict[str, Any]] = {
    "all parameters": {},
    "LoRA": dict(lora=True),
    "KL to the reference": dict(model={}, options=dict(beta=0.2)),
    "KL to the old policy, LoRA": dict(lora=True, options=dict(beta=0.2, kl_target="old")),
    "gradient checkpointing": dict(checkpointing=True),
    "LoRA, KL, gradient checkpointing": dict(lora=True, checkpointing=True, options=dict(beta=0.2)),
    "tied embeddings": dict(model=dict(tie_word_embeddings=True)),
    "a limit to the mismatch": dict(options=dict(mismatch_limit=150.0)),
}
BF16 = dict(bf16=True, share_prompts=True)  # weights, gradients and what passes between layers are rounded


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    sgd = dict(optim="sgd", max_grad_norm=0.0, learning_rate=RATE)
    found = {}
    for name, case in (CASES | {"bf16": dict(options=BF16)}).items():
        found[name] = case | dict(steps=2, max_steps=2, options=sgd | case.get("options", {}))
        if "model" in case:  # a reference model is loaded by name; what is tied is known from a folder
            folder = tmp_path_factory.mktemp("model")
            tiny_model(**case["model"]).save_pretrained(folder)
            found[name]["path"] = str(folder)
    return found


@pytest.fixture(scope="module")
def sharded(cuts: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple]:
    """Under FSDP2; the processes assert that every parameter is a shard."""
    folder = tmp_path_factory.mktemp("fsdp")
    results = train_together([cut | dict(batch=4) for cut in cuts.values()], folder, main)
    return dict(zip(cuts, results, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_fsdp2_has_the_gradient_of_one_process(name: str, cuts: dict, sharded: dict) -> None:
    expected, expected_log = train_cut(cuts[name] | dict(batch=16))
    parameters, log = sharded[name]
    assert parameters.keys() == expected.keys()
    for parameter, value in expected.items():
        assert (parameters[parameter] - value).abs().max() <= RATE * TOLERANCE, parameter
    assert losses(log) == pytest.approx(losses(expected_log), abs=1e-5)


def test_fsdp2_in_bf16_shares_prompts_and_has_the_gradient_of_one_process_but_for_rounding(
    cuts: dict, sharded: dict
) -> None:
    """Shared or not is asserted in the processes."""
    expected, _ = train_cut(cuts["bf16"] | dict(batch=16, options=cuts["all parameters"]["options"]))
    before = dict(tiny_model().named_parameters())
    parameters, _ = sharded["bf16"]
    moved, apart = (
        torch.cat([(values[name] - other[name].detach()).flatten() for name in before]).norm()
        for values, other in ((expected, before), (parameters, expected))
    )
    assert apart <= 0.1 * moved


def test_fsdp2_in_bfloat16_keeps_log_probabilities_and_gradients_in_float32(cuts: dict, tmp_path: Path) -> None:
    """Which the processes assert; the numbers are those of one process, to the rounding of the model itself."""
    cut = cuts["KL to the reference"]
    # One micro-step, whose gradient is looked at
    cut = cut | dict(batch=8, options=cut["options"] | dict(bf16=True, share_prompts=False))
    [(_, log)] = train_together([cut], tmp_path, main)
    _, expected = train_cut(cut | dict(batch=16))
    for name in ("loss", "kl", "kl_old", "scores/abs_mean", "scores/positive_mean", "grad_norm"):
        assert log[1][name] == pytest.approx(expected[1][name], rel=0.1), name
