"""Where the seconds of a training step go: the functions of a trainer, timed from outside.

In: a trainer before its first step. Out: the seconds of every phase of its last generation, which add up to the time
from its first micro-step to the end of its last optimizer step. Left out: which trainer, and what it trains on.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from measure import now
from transformers import TrainerCallback
from trl import GRPOTrainer


PHASES = (
    "generation",  # weights to the engine, and tokens from it
    "rewards",  # the reward functions
    "planning",  # rollouts into optimizer steps and micro-steps, and the inputs of every forward
    "forwards without gradient",  # old log-probabilities
    "forwards",
    "loss",  # from log-probabilities to the loss, and what is logged of it
    "backwards",
    "optimizer",  # clipping and update
    "rest",  # what TRL and Transformers do around it: decoding, padding, metrics, the loop
)


class Phases(TrainerCallback):
    """
    The phases of every generation of a trainer.

    While a phase runs inside another one, the time is the inner one's; but generation has all that happens in it.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Or one that is made from it. Its functions are replaced by the same, timed.
        steps (`int`):
            Optimizer steps per generation.
    """

    def __init__(self, trainer: GRPOTrainer, steps: int):
        self.steps = steps
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []  # the innermost last; empty between generations
        self._since = 0.0
        for owner, function, phase in (
            (trainer, "_generate_single_turn", "generation"),
            (trainer, "_calculate_rewards", "rewards"),
            (trainer, "_prepare_inputs", "planning"),
            (trainer, "_generate_and_score_completions", "rest"),
            (trainer, "compute_loss", "loss"),
            (trainer.model, "forward", "forwards"),
            (trainer.accelerator, "backward", "backwards"),
            (trainer.accelerator, "clip_grad_norm_", "optimizer"),
        ):
            setattr(owner, function, self._timed(getattr(owner, function), phase))
        trainer.add_callback(self)

    def _timed(self, function: Callable, phase: str) -> Callable:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            no_grad = phase == "forwards" and not torch.is_grad_enabled()
            with self.phase("forwards without gradient" if no_grad else phase):
                return function(*args, **kwargs)

        return timed

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What runs in here is of this phase."""
        if not self._open or "generation" in self._open:
            yield
            return
        self._begin(name)
        try:
            yield
        finally:
            self._end()

    def _begin(self, name: str) -> None:
        self._charge()
        self._open.append(name)

    def _end(self) -> None:
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        """The time since the last change is the innermost phase's."""
        moment = now()
        if self._open:
            self.seconds[self._open[-1]] += moment - self._since
        self._since = moment

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps == 0:
            self.seconds = dict.fromkeys(PHASES, 0.0)
            self._begin("rest")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begin("optimizer")

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._end()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps == 0:
            self._end()
