"""What two processes must do alike. Every process writes what it saw."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import torch

from tests.step.test_trial import over_all_rows
from tests.support.cuts import trainer_for
from tests.support.tiny import digest, fixed_completion
from trl_real import REALTrainer
from trl_real.step import attention as packing


def rare_label(prompts: list[str], completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
    """One rollout of every fourth prompt is correct; no other has a label."""
    rows = zip(prompts, completion_ids, strict=True)
    return [
        1.0 if digest("rare", prompt) % 4 == 0 and ids == fixed_completion(prompt, 0) else None for prompt, ids in rows
    ]


def forward_counts() -> dict[str, Any]:
    """Forwards of every micro-step, and their tokens, where a step has so few rows that a process has none."""
    forwards: list[int] = []
    tokens: list[int] = []

    class Counted(REALTrainer):
        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            forwards.append(0)
            return super().training_step(*args, **kwargs)

    def count(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        forwards[-1] += 1
        tokens.append(kwargs["input_ids"].numel())

    cut = dict(batch=1, steps=4, max_steps=4, options=dict(degenerate_groups="keep"))
    trainer = trainer_for(cut, Counted, reward_func=rare_label)
    trainer.model.register_forward_pre_hook(count, with_kwargs=True)
    trainer.train()
    return dict(forwards=forwards, tokens=tokens)


def leak_on_one_process() -> dict[str, Any]:
    """Rows see each other on the second process alone; what the first one, which logs, says of it."""
    if os.environ["RANK"] == "1":
        packing.AttentionInterface._global_mapping[packing.ROW_BY_ROW] = over_all_rows
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("trl_real").addHandler(handler)
    trainer_for(dict(batch=4, steps=2, max_steps=1)).train()
    return dict(said=said)


def main(folder: Path) -> None:
    """One thing after another; where one fails, what follows is not written."""
    for run in (forward_counts, leak_on_one_process):
        (folder / f"{run.__name__}-{os.environ['RANK']}.json").write_text(json.dumps(run()))
