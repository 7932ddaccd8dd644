"""Every saving of the update phase saves something: it is switched off by breaking the line that makes it."""

from functools import cache, cached_property
from typing import Any

import pytest
import torch

from tests.support.cuts import train_cut
from trl_real.objective import Objective
from trl_real.step.choice import LayoutChoice
from trl_real.step.forwards import Forwards
from trl_real.step.generation import Generation, GenerationPlanner
from trl_real.step.plan import Capacity


remember_logps, micro_step = GenerationPlanner._remember_logps, Generation.micro_step
longest = cached_property(lambda self: [max(self.prompts) + max(self.completions)] * len(self.prompts))
longest.__set_name__(Capacity, "lengths")


def remember_all_logps(self, generation, first_step):
    generation.policy_version = -1  # so that no step counts as on policy
    remember_logps(self, generation, first_step=-1)


COMPUTE_EVERY_PROMPT = (LayoutChoice, "among", lambda *args: None)
# What replaces an attribute to switch the saving off
SAVINGS: dict[str, list[tuple[type, str, Any]]] = {
    "rows without gradient are not run": [
        (Objective, "informative", lambda self, labels: torch.ones_like(labels, dtype=torch.bool))
    ],
    "packing": [(LayoutChoice, "_why_not_packed_by_settings", lambda self: "switched off")],
    "prompts are computed once": [COMPUTE_EVERY_PROMPT],
    "micro-steps by tokens": [COMPUTE_EVERY_PROMPT, (Capacity, "lengths", longest)],  # shared prompts have their own
    "old log-probabilities of later steps only": [(GenerationPlanner, "_remember_logps", remember_all_logps)],
    "empty micro-steps are skipped": [
        (Generation, "micro_step", lambda self, *at: micro_step(self, *at) or [[self.filler]])
    ],
}


@cache
def tokens_without(*replaced: tuple[type, str, Any]) -> list[int]:
    """Tokens of every forward in training and for old log-probabilities."""
    forwards, forward = [], Forwards._run

    def counted(self, model, batch, *args, **kwargs):
        forwards.append(batch.input_ids.numel())
        return forward(self, model, batch, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for each in replaced:
            patch.setattr(*each)
        patch.setattr(Forwards, "_run", counted)
        train_cut(dict(batch=8, steps=4))
    return forwards


@pytest.mark.parametrize("name", SAVINGS)
def test_every_saving_saves_something(name):
    saved, full = tokens_without(), tokens_without(*SAVINGS[name])
    assert (len(saved), sum(saved)) < (len(full), sum(full))
