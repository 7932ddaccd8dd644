"""
An optimizer step has the correct gradient under every setting of a run on several GPUs.

Cells in which every pair of settings meets, on CPUs; `make settings` takes all cells.
"""

from dataclasses import astuple

import pytest
import torch
from torch import nn

from tests.objective import reference
from tests.settings import judge as judging
from tests.settings.cells import CELLS, COVER, Cell
from tests.settings.judge import TOLERANCES, Groups, Verdict
from tests.settings.run import GROUP, Tensors
from tests.trainer.oracle import forward


MARGIN = 3  # how far beyond the tolerance a mistake must be


@pytest.fixture(scope="module")
def verdicts() -> dict[Cell, Verdict]:
    pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    return dict(judging.judge(COVER))


def test_every_pair_of_settings_meets_in_some_cell() -> None:
    assert set().union(*(cell.pairs for cell in CELLS)) == set().union(*(cell.pairs for cell in COVER))


@pytest.mark.parametrize("cell", COVER, ids=lambda cell: ", ".join(astuple(cell)))
def test_an_optimizer_step_has_the_correct_gradient(cell: Cell, verdicts: dict[Cell, Verdict]) -> None:
    assert not verdicts[cell].wrong


@pytest.mark.parametrize("layout", ["padded", "long RoPE"])
@pytest.mark.parametrize("parameters", ["full", "LoRA"])
def test_the_tolerance_notices_a_lost_forward(layout: str, parameters: str, verdicts: dict[Cell, Verdict]) -> None:
    model, outcomes = of_a_cell(verdicts, layout, parameters)
    for number, groups in enumerate(judging.steps_of(outcomes)):
        judging.remember(model, outcomes[0].before[0], groups)
        right = judging.correct_gradient(model, outcomes[0].before[number], groups)
        for micro_step in outcomes[0].plans[number]:
            for lost in micro_step if len(micro_step) > 1 else ():
                rows = {row - number * len(groups) * GROUP for part in lost for row in part}
                assert judging.distance(without(model, groups, rows), right) > MARGIN * max(TOLERANCES.values())


@pytest.mark.parametrize("parameters", ["full", "LoRA"])
def test_the_tolerance_notices_wrong_old_log_probabilities(parameters: str, verdicts: dict[Cell, Verdict]) -> None:
    model, outcomes = of_a_cell(verdicts, "padded", parameters)
    _, groups = judging.steps_of(outcomes)
    generated, trained = outcomes[0].before
    judging.remember(model, generated, groups)
    right = judging.correct_gradient(model, trained, groups)
    judging.remember(model, trained, groups)
    on_policy = judging.correct_gradient(model, trained, groups)
    assert judging.distance(on_policy, right) > MARGIN * max(TOLERANCES.values())


def of_a_cell(verdicts: dict[Cell, Verdict], layout: str, parameters: str) -> tuple[nn.Module, list]:
    """The oracle's model of some cell, and what its processes wrote."""
    cell = next(cell for cell in COVER if (cell.layout, cell.parameters) == (layout, parameters))
    return judging.oracle_model(cell), verdicts[cell].outcomes


def without(model: nn.Module, groups: Groups, lost: set[int]) -> Tensors:
    """The gradient at the model's parameters, with all weights, but not the scores of the lost rows."""
    kept: list[torch.Tensor] = []
    for number, group in enumerate(groups):
        scores = [(forward(model, sample, 1.0)[0] - sample.old).mean() for sample in group]
        weights = reference.group_weights([score.item() for score in scores], [sample.label for sample in group])
        terms = enumerate(zip(weights, scores, strict=True), start=number * GROUP)
        kept += [weight * score for row, (weight, score) in terms if row not in lost]
    return judging.gradient_of(model, sum(kept) / len(groups))
