"""Starts the processes of `run.py` and compares loss, gradient, layout and precision of both steps with the oracle."""

import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.settings import run
from tests.settings.cells import Cell
from tests.settings.run import Outcome, Tensors
from tests.support.processes import start
from tests.support.tiny import fixed_completion, tiny_tokenizer
from tests.trainer.oracle import Sample, StepOracle, Terms, forward, gradient


PER_LAUNCH = 24  # cells; a launch has a time limit
# Of a gradient from the correct one, relative to its length. Measured: 0.02 by bfloat16 alone, in one process; 0.17 by
# a lost forward, 0.23 by old log-probabilities of the wrong policy. `test_settings.py` asks for thrice this.
TOLERANCES = {"float32": 1e-5, "bf16": 0.04, "bf16 weights": 0.04}
LAYOUTS = {"packed": {"PackedBatch"}, "long RoPE": {"PackedBatch"}, "padded": {"PaddedBatch"}}
LAYOUTS["shared"] = {"SharedBatch", "PackedBatch"}  # there are forwards without two rollouts of a prompt

Groups = list[list[Sample]]


@dataclass
class Verdict:
    kind: str  # as in [`run.Outcome`]; "crashed" also if processes disagree
    said: str = ""
    distances: list[float] = field(default_factory=list)  # of both gradients from the correct ones, over their length
    losses: list[float] = field(default_factory=list)  # of both steps, by the formulas
    wrong: list[str] = field(default_factory=list)  # what is not as it must be
    outcomes: list[Outcome] = field(default_factory=list)  # of the processes


def judge(cells: Iterable[Cell]) -> Iterator[tuple[Cell, Verdict]]:
    """Trains the cells in as few launches as crashes allow, and compares."""
    for _, same in groupby(sorted(cells, key=lambda cell: cell.backend), lambda cell: cell.backend):
        pending = list(same)
        while pending:
            launched = launch(pending[:PER_LAUNCH])
            yield from launched.items()
            pending = pending[len(launched) :]


def launch(cells: list[Cell]) -> dict[Cell, Verdict]:
    """The cells until one crashes or the time is over."""
    found: dict[Cell, Verdict] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, processes = Path(name), cells[0].processes
        codes = start(run.main, [(folder, list(enumerate(cells)))] * processes, folder / "said.txt")
        for number, cell in enumerate(cells):
            paths = [folder / f"{number}-{rank}.pt" for rank in range(processes)]
            outcomes = [torch.load(path, weights_only=False) for path in paths if path.exists()]
            if found and not outcomes:
                break  # it is the first of the next launch
            found[cell] = verdict(cell, outcomes)
            if found[cell].kind == "crashed":
                said = (folder / "said.txt").read_text()[-2000:]
                found[cell].said = found[cell].said or f"processes ended with {codes}: {said}"
                break
    return found


def verdict(cell: Cell, outcomes: list[Outcome]) -> Verdict:
    kinds = {outcome.kind for outcome in outcomes}
    kind = kinds.pop() if len(kinds) == 1 and len(outcomes) == cell.processes else "crashed"
    said = [outcome.said for outcome in sorted(outcomes, key=lambda outcome: outcome.kind) if outcome.said]
    found = Verdict(kind, said[0] if said else "", outcomes=outcomes)
    if kind == "trained":
        correct = correct_steps(cell, outcomes)
        found.losses = [loss for loss, _ in correct]
        pairs = zip(outcomes[0].gradients, correct, strict=True)
        found.distances = [distance(trained, expected) for trained, (_, expected) in pairs]
        found.wrong = list(wrong(cell, found))
    else:
        found.wrong = [f"{kind}: {found.said}"]
    return found


def wrong(cell: Cell, found: Verdict) -> Iterator[str]:
    first, layouts = found.outcomes[0], set().union(*(outcome.layouts for outcome in found.outcomes))
    if not max(found.distances) <= TOLERANCES[cell.precision]:
        yield f"gradients are {' and '.join(f'{each:.2g}' for each in found.distances)} away"
    start, after = first.before
    moved = {name: (start[name] - after[name]) / run.RATES[cell.parameters] for name in start}
    if cell.is_exact and not distance(moved, first.gradients[0]) < 1e-3:
        yield "the optimizer did not take the first step"
    pairs = zip(first.losses, found.losses, strict=True)
    if cell.is_exact and not all(math.isclose(*pair, rel_tol=1e-4, abs_tol=1e-5) for pair in pairs):
        yield f"losses are {first.losses}, not {found.losses}"
    if layouts - LAYOUTS[cell.layout] or (cell.layout == "shared" and "SharedBatch" not in layouts):
        yield f"laid out as {sorted(layouts)}"
    if first.reentrant != cell.reentrant:
        yield f"checkpointing has use_reentrant={first.reentrant}"
    if not first.spread[1]:
        yield "no group of the second step is spread over micro-steps"
    several = any(len(forwards) > 1 for forwards in first.plans[0])
    if cell.layout in ("padded", "long RoPE") and not several and not cell.reentrant:  # which has few on purpose
        yield "no micro-step of the first step has several forwards"
    if "log-probabilities" in first.rounded:
        yield "log-probabilities are rounded to bfloat16"
    # Those of parameters in bfloat16 have no more digits, and neither has a single backward under autocast
    if "gradients" in first.rounded and cell.precision != "bf16 weights" and cell.processes > 1:
        yield "gradients are rounded to bfloat16"


def correct_steps(cell: Cell, outcomes: list[Outcome]) -> list[tuple[float, Tensors]]:
    """Loss and gradient of every optimizer step, by the formulas."""
    policies, model, steps = outcomes[0].before, oracle_model(cell), steps_of(outcomes)
    remember(model, policies[0], [group for groups in steps for group in groups])
    return [correct_step(model, policy, groups) for policy, groups in zip(policies, steps, strict=True)]


def steps_of(outcomes: list[Outcome]) -> list[Groups]:
    prompts = [prompt for outcome in outcomes for prompt in outcome.prompts]
    groups = [group_of(prompt) for prompt in prompts[:: run.GROUP]]
    return [groups[: len(groups) // 2], groups[len(groups) // 2 :]]


def group_of(prompt: str) -> list[Sample]:
    completions = [fixed_completion(prompt, index) for index in range(run.GROUP)]
    rewards = run.rewards_of([prompt] * run.GROUP, completions)
    labels = [math.nan if reward is None else reward for reward in rewards]
    ids = tiny_tokenizer()(prompt)["input_ids"]
    rows = zip(completions, labels, strict=True)
    return [Sample(ids, tokens, [True] * len(tokens), label) for tokens, label in rows]


def oracle_model(cell: Cell) -> nn.Module:
    """The cell's model in float64."""
    return _oracle_model(cell.parameters, cell.layout == "long RoPE", cell.precision == "bf16 weights")


@cache
def _oracle_model(parameters: str, long_rope: bool, rounded: bool) -> nn.Module:
    model = run.starting_model(long_rope, rounded)
    if parameters == "LoRA":
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    return model.double().eval()


@torch.no_grad()
def remember(model: nn.Module, policy: Tensors, groups: Groups) -> None:
    """Log-probabilities under the policy that generated."""
    model.load_state_dict(policy, strict=False)
    for sample in (sample for group in groups for sample in group):
        sample.old = forward(model, sample, temperature=1.0)[0]


def correct_step(model: nn.Module, policy: Tensors, groups: Groups) -> tuple[float, Tensors]:
    model.load_state_dict(policy, strict=False)
    loss = StepOracle(model, groups, Terms(), entropy_weight=0.0).loss
    return loss.item(), gradient(model, loss)


def distance(found: Tensors, expected: Tensors) -> float:
    """Length of the difference over that of the expected."""
    assert found.keys() == expected.keys()
    flat, correct = (torch.cat([each[name].double().flatten() for name in expected]) for each in (found, expected))
    return ((flat - correct).norm() / correct.norm()).item()
