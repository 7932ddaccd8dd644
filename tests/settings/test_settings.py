"""Cells in which every pair of settings meets; `make settings` takes all cells."""

from dataclasses import astuple
from functools import cache

import pytest
import torch
from torch import nn

from tests.objective import reference
from tests.settings import judge as judging
from tests.settings.cells import CELLS, COVER, Cell
from tests.settings.judge import TOLERANCES, Groups, Verdict
from tests.settings.run import GROUP, Tensors
from tests.trainer.oracle import forward, gradient


@cache
def verdicts(backend: str) -> dict[Cell, Verdict]:
    return dict(judging.judge(cell for cell in COVER if cell.backend == backend))


def test_every_pair_of_settings_meets_in_some_cell() -> None:
    assert set().union(*(cell.pairs for cell in CELLS)) <= set().union(*(cell.pairs for cell in COVER))


@pytest.mark.parametrize("cell", COVER, ids=lambda cell: ", ".join(astuple(cell)))
def test_an_optimizer_step_has_the_correct_gradient(cell: Cell) -> None:
    if cell.is_deepspeed:
        pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    assert not verdicts(cell.backend)[cell].wrong


@pytest.mark.parametrize("layout", ["padded", "long RoPE"])
@pytest.mark.parametrize("parameters", ["full", "LoRA"])
def test_the_tolerance_notices_a_lost_forward_and_old_logps_of_another_policy(layout: str, parameters: str) -> None:
    """By a factor of three."""
    cells = (cell for cell in COVER if (cell.layout, cell.parameters) == (layout, parameters))
    cell = next(cell for cell in cells if not cell.is_deepspeed)
    model, outcomes, least = (
        judging.oracle_model(cell),
        verdicts(cell.backend)[cell].outcomes,
        3 * max(TOLERANCES.values()),
    )
    policies = outcomes[0].before
    for number, groups in enumerate(judging.steps_of(outcomes)):
        judging.remember(model, policies[0], groups)
        _, correct = judging.correct_step(model, policies[number], groups)
        for micro_step in outcomes[0].plans[number]:
            for lost in micro_step if len(micro_step) > 1 else ():
                rows = {row - number * len(groups) * GROUP for part in lost for row in part}
                assert judging.distance(without(model, groups, rows), correct) > least
    judging.remember(model, policies[1], groups)
    _, on_policy = judging.correct_step(model, policies[1], groups)
    assert judging.distance(on_policy, correct) > least


def without(model: nn.Module, groups: Groups, lost: set[int]) -> Tensors:
    """The gradient at the model's parameters, with all weights, but not the scores of the lost rows."""
    kept: list[torch.Tensor] = []
    for number, group in enumerate(groups):
        scores = [(forward(model, sample, 1.0)[0] - sample.old).mean() for sample in group]
        weights = reference.group_weights([score.item() for score in scores], [sample.label for sample in group])
        terms = enumerate(zip(weights, scores, strict=True), start=number * GROUP)
        kept += [weight * score for row, (weight, score) in terms if row not in lost]
    return gradient(model, sum(kept) / len(groups))
