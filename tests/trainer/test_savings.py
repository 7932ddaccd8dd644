"""Every saving of the update phase saves something: it is switched off by breaking the line that makes it."""

from collections.abc import Callable
from functools import cached_property

import pytest
import torch

from tests.support.cuts import train_cut
from trl_real.objective import Objective
from trl_real.step.choice import LayoutChoice
from trl_real.step.forwards import Forwards
from trl_real.step.generation import Generation, GenerationPlanner
from trl_real.step.plan import Capacity


Patch = Callable[[pytest.MonkeyPatch], None]


def run_rows_without_gradient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Objective, "informative", lambda self, labels: torch.ones_like(labels, dtype=torch.bool))


def pad_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LayoutChoice, "_why_not_packed_by_settings", lambda self: "switched off")


def compute_every_prompt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LayoutChoice, "among", lambda *args: None)


def take_as_many_rows_as_the_user_said(patch: pytest.MonkeyPatch) -> None:
    compute_every_prompt(patch)  # which has tokens of its own
    longest = cached_property(lambda self: [max(self.prompts) + max(self.completions)] * len(self.prompts))
    longest.__set_name__(Capacity, "lengths")
    patch.setattr(Capacity, "lengths", longest)


def compute_all_old_logps(patch: pytest.MonkeyPatch) -> None:
    remember = GenerationPlanner._remember_logps

    def all_steps(self, generation, first_step):
        generation.policy_version = -1  # so that no step counts as on policy
        remember(self, generation, first_step=-1)

    patch.setattr(GenerationPlanner, "_remember_logps", all_steps)


def run_empty_micro_steps(patch: pytest.MonkeyPatch) -> None:
    micro_step = Generation.micro_step
    patch.setattr(Generation, "micro_step", lambda self, *at: micro_step(self, *at) or [[self.filler]])


SAVINGS: dict[str, Patch] = {
    "rows without gradient are not run": run_rows_without_gradient,
    "packing": pad_rows,
    "prompts are computed once": compute_every_prompt,
    "micro-steps by tokens": take_as_many_rows_as_the_user_said,
    "old log-probabilities of later steps only": compute_all_old_logps,
    "empty micro-steps are skipped": run_empty_micro_steps,
}


def tokens_without(off: Patch | None) -> list[int]:
    """Tokens of every forward in training and for old log-probabilities."""
    forwards, forward = [], Forwards._run

    def counted(self, model, batch, *args, **kwargs):
        forwards.append(batch.input_ids.numel())
        return forward(self, model, batch, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        if off:
            off(patch)
        patch.setattr(Forwards, "_run", counted)
        train_cut(dict(batch=8, steps=4))
    return forwards


@pytest.mark.parametrize("name", SAVINGS)
def test_every_saving_saves_something(name):
    saved, full = tokens_without(None), tokens_without(SAVINGS[name])
    assert (len(saved), sum(saved)) < (len(full), sum(full))
