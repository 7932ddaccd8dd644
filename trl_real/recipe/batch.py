"""
The batch of an experiment on any number of GPUs: the same prompts in every generation and optimizer step.

TRL's `gradient_accumulation_steps` and `steps_per_generation` follow from it and from the machine.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


TARGETS = ("prompts_per_generation", "prompts_per_step")
DERIVED = ("gradient_accumulation_steps", "steps_per_generation", "generation_batch_size")


@dataclass(frozen=True)
class Batch:
    """A recipe's batch on this number of processes; targets count prompts over all processes."""

    prompts_per_generation: int
    prompts_per_step: int
    num_generations: int
    per_device_train_batch_size: int
    world_size: int

    @property
    def rows_per_micro_step(self) -> int:
        return self.per_device_train_batch_size * self.world_size

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps per generation."""
        return self.prompts_per_generation // self.prompts_per_step

    @property
    def gradient_accumulation_steps(self) -> int:
        return self.prompts_per_step * self.num_generations // self.rows_per_micro_step

    @property
    def steps_per_generation(self) -> int:
        return self.gradient_accumulation_steps * self.optimizer_steps

    def check(self) -> None:
        """Raises `ValueError`, with the nearest numbers that work, if the batch cannot be divided evenly."""
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name}: must be at least 1, got {value}.")
        steps, rest = divmod(self.prompts_per_generation, self.prompts_per_step)
        if rest:
            lower, upper = steps * self.prompts_per_step, (steps + 1) * self.prompts_per_step
            raise ValueError(
                f"prompts_per_generation: {self.prompts_per_generation} is not a multiple of "
                f"prompts_per_step ({self.prompts_per_step}). Write {_either(lower, upper)}."
            )
        rollouts = self.prompts_per_step * self.num_generations
        if rollouts % self.rows_per_micro_step:
            raise ValueError(
                f"prompts_per_step: {self.prompts_per_step} prompts x {self.num_generations} rollouts = {rollouts} "
                f"cannot be divided into micro-steps of {self.rows_per_micro_step} (per_device_train_batch_size="
                f"{self.per_device_train_batch_size} x {self.world_size} processes). Write {self._proposals()}."
            )

    def _proposals(self) -> str:
        rollouts = self.prompts_per_step * self.num_generations
        found = []
        if rollouts % self.world_size == 0:
            device = _nearest(self.per_device_train_batch_size, _divisors(rollouts // self.world_size))
            found.append(f"per_device_train_batch_size {device}")
        if rollouts % self.per_device_train_batch_size == 0:
            processes = _nearest(self.world_size, _divisors(rollouts // self.per_device_train_batch_size))
            found.append(f"{processes} processes (accelerate launch --num_processes)")
        unit = self.rows_per_micro_step // math.gcd(self.rows_per_micro_step, self.num_generations)
        lower = self.prompts_per_step // unit * unit
        steps = self.optimizer_steps
        targets = [f"{lower} (of {lower * steps})"] * (lower > 0) + [f"{lower + unit} (of {(lower + unit) * steps})"]
        found.append(f"prompts_per_step (of prompts_per_generation) {' or '.join(targets)}")
        return ", or ".join(found)


def derive_batch(options: dict[str, Any], given: Iterable[str], world_size: int) -> dict[str, int]:
    """
    TRL's batch fields from a recipe's `prompts_per_generation` and `prompts_per_step`; none without these two.

    `options` are all fields of the recipe, and `given` the names of those that the recipe or the command line sets.
    """
    targets = [name for name in TARGETS if options.get(name)]
    if not targets:
        return {}
    if len(targets) == 1:
        other = (set(TARGETS) - set(targets)).pop()
        raise ValueError(f"{targets[0]}: also set {other}, or omit both.")
    both = sorted(set(given).intersection(DERIVED))
    if both:
        raise ValueError(
            f"{both[0]}: follows from prompts_per_generation and prompts_per_step. Omit it, or write "
            "--prompts_per_generation 0 --prompts_per_step 0 to set TRL's fields by hand."
        )
    batch = Batch(
        *(options[name] for name in (*TARGETS, "num_generations", "per_device_train_batch_size")),
        world_size=world_size,
    )
    batch.check()
    return {name: getattr(batch, name) for name in ("gradient_accumulation_steps", "steps_per_generation")}


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _nearest(number: int, candidates: list[int]) -> str:
    """The nearest candidates, below and above a number."""
    below = [candidate for candidate in candidates if candidate <= number]
    above = [candidate for candidate in candidates if candidate >= number]
    return _either(below[-1] if below else 0, above[0] if above else 0)


def _either(lower: int, upper: int) -> str:
    return " or ".join(str(number) for number in dict.fromkeys((lower, upper)) if number)
