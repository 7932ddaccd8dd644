"""
Starts the processes of `run.py` and compares what they write with the formulas.

In: cells. Out: a verdict on each. The gradient of either optimizer step must be that of the float64 oracle
(`tests/trainer/oracle.py`) at the same parameters, in the layout that was asked for.
"""

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.settings import run
from tests.settings.cells import Cell, refusal
from tests.settings.run import Outcome, Tensors
from tests.support.processes import start
from tests.support.tiny import fixed_completion, tiny_tokenizer
from tests.trainer.oracle import Sample, StepOracle, Terms, forward


PER_LAUNCH = 32  # cells; a launch has a time limit
# Of a gradient from the right one, relative to its length. What is right but for rounding to bfloat16, one process, is
# up to 0.02 away. A forward that is lost is 0.06 away, or more: `test_settings.py`.
TOLERANCES = {"float32": 1e-5, "bf16": 0.03, "bf16 weights": 0.03}
LAYOUTS = {"packed": {"PackedBatch"}, "long RoPE": {"PackedBatch"}, "padded": {"PaddedBatch"}}
LAYOUTS |= {"shared": {"SharedBatch", "PackedBatch"}}  # there are micro-steps in which no process has two of a prompt


@dataclass
class Verdict:
    """
    What became of a cell.

    Args:
        kind (`str`):
            "trained", "refused" or "crashed".
        said (`str`):
            The error.
        distances (`list[float]`):
            Of the gradient of each optimizer step from the right one, relative to its length.
        wrong (`list[str]`):
            What must not be; empty for a cell that is as it must be.
        outcomes (`list[Outcome]`):
            Of the processes.
    """

    kind: str
    said: str = ""
    distances: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def judge(cells: Iterable[Cell]) -> dict[Cell, Verdict]:
    """Trains the cells in as few launches as crashes allow, and compares."""
    found: dict[Cell, Verdict] = {}
    for _, same in groupby(sorted(cells, key=lambda cell: cell.backend), lambda cell: cell.backend):
        pending = list(same)
        while pending:
            launched = launch(pending[:PER_LAUNCH])
            found |= launched
            pending = pending[len(launched) :]
    return found


def launch(cells: list[Cell]) -> dict[Cell, Verdict]:
    """The cells up to the first that crashes."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder, processes = Path(name), cells[0].processes
        codes = start(run.main, [(folder, list(enumerate(cells)))] * processes, folder / "said.txt")
        for number, cell in enumerate(cells):
            paths = [folder / f"{number}-{rank}.pt" for rank in range(processes)]
            outcomes = [torch.load(path, weights_only=False) for path in paths if path.exists()]
            found[cell] = verdict(cell, outcomes)
            if found[cell].kind == "crashed":
                said = (folder / "said.txt").read_text()[-2000:]
                found[cell].said = found[cell].said or f"processes ended with {codes}: {said}"
                break
    return found


def verdict(cell: Cell, outcomes: list[Outcome]) -> Verdict:
    """From what the processes wrote."""
    kinds = {outcome.kind for outcome in outcomes}
    crashed = len(outcomes) < cell.processes or len(kinds) > 1 or "crashed" in kinds
    errors = [outcome for outcome in outcomes if outcome.said]
    errors.sort(key=lambda outcome: outcome.kind)  # "crashed" first
    found = Verdict("crashed" if crashed else kinds.pop(), errors[0].said if errors else "", outcomes=outcomes)
    if found.kind == "trained":
        found.distances = distances(cell, outcomes)
    found.wrong = list(wrong(cell, found))
    return found


def wrong(cell: Cell, found: Verdict) -> Iterable[str]:
    """What must not be."""
    field_ = refusal(cell)
    if found.kind != ("refused" if field_ else "trained"):
        yield f"{found.kind}: {found.said}"
    elif field_ and f"`{field_}" not in found.said:
        yield f"refused, but not for `{field_}`: {found.said}"
    elif not field_:
        yield from _wrong_in_training(cell, found)


def _wrong_in_training(cell: Cell, found: Verdict) -> Iterable[str]:
    first = found.outcomes[0]
    if max(found.distances) > TOLERANCES[cell.precision]:
        yield f"gradients are {', '.join(f'{each:.2g}' for each in found.distances)} away"
    if any(outcome.layouts - LAYOUTS[cell.layout] for outcome in found.outcomes):
        yield f"laid out as {first.layouts}"
    if cell.layout == "shared" and not any("SharedBatch" in outcome.layouts for outcome in found.outcomes):
        yield "no prompt is shared"
    if first.reentrant != cell.reentrant:
        yield f"checkpointing has use_reentrant={first.reentrant}"
    if not first.spread[1]:
        yield "the second step has complete groups in its micro-steps"
    if "log-probabilities" in first.rounded:
        yield "log-probabilities are rounded to bfloat16"
    # The gradient of a parameter in bfloat16 has no more digits
    if "gradients" in first.rounded and cell.precision != "bf16 weights":
        yield "gradients are rounded to bfloat16"


def distances(cell: Cell, outcomes: list[Outcome]) -> list[float]:
    """Of the gradient of every optimizer step from the oracle's."""
    first = outcomes[0]
    model, steps = oracle_model(cell), steps_of(outcomes)
    for groups in steps:
        remember(model, first.before[0], groups)
    rows = zip(first.before, first.gradients, steps, strict=True)
    return [
        distance(gradient, right_gradient(model, before, groups)) for before, gradient, groups in rows
    ]


def steps_of(outcomes: list[Outcome]) -> list[list[list[Sample]]]:
    """The groups of both optimizer steps."""
    prompts = [prompt for outcome in outcomes for prompt in outcome.prompts][:: run.GROUP]
    groups = []
    for prompt in prompts:
        completions = [fixed_completion(prompt, index) for index in range(run.GROUP)]
        rewards = run.rewards_of([prompt] * run.GROUP, completions)
        ids = tiny_tokenizer()(prompt)["input_ids"]
        rows = zip(completions, rewards, strict=True)
        groups.append(
            [Sample(ids, tokens, [True] * len(tokens), math.nan if reward is None else reward) for tokens, reward in rows]
        )
    return [groups[: len(groups) // 2], groups[len(groups) // 2 :]]


def oracle_model(cell: Cell) -> nn.Module:
    """The cell's model in float64."""
    return _oracle_model(cell.parameters, cell.layout == "long RoPE", cell.precision == "bf16 weights")


@cache
def _oracle_model(parameters: str, long_rope: bool, rounded: bool) -> nn.Module:
    model = run.starting_model("long RoPE" if long_rope else "packed", "bf16 weights" if rounded else "float32")
    if parameters == "LoRA":
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    return model.double().eval()


@torch.no_grad()
def remember(model: nn.Module, policy: Tensors, groups: list[list[Sample]]) -> None:
    """Log-probabilities under the policy that generated."""
    model.load_state_dict(policy, strict=False)
    for sample in (sample for group in groups for sample in group):
        sample.old = forward(model, sample, temperature=1.0)[0]


def right_gradient(model: nn.Module, policy: Tensors, groups: list[list[Sample]]) -> Tensors:
    """Of the objective over these groups."""
    model.load_state_dict(policy, strict=False)
    return gradient_of(model, StepOracle(model, groups, Terms(), entropy_weight=0.0).loss)


def gradient_of(model: nn.Module, loss: torch.Tensor) -> Tensors:
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))


def distance(found: Tensors, expected: Tensors) -> float:
    """Length of the difference over that of the expected."""
    assert found.keys() == expected.keys()
    return length({name: found[name] - expected[name] for name in expected}) / length(expected)


def length(gradient: Tensors) -> float:
    return math.sqrt(sum(part.double().square().sum().item() for part in gradient.values()))
