"""Labels and lengths -> the plan of a generation: which rollout runs in which optimizer step, micro-step and process.

Pure integers, the same on every process, no tensors. Groups go to optimizer steps in the order of the data, so that
neither the number of processes nor the batch cut changes what a step trains on. Within a step only rollouts with a
gradient are run; groups of like length share a micro-step, and micro-steps left without rollouts come first, where
they can be skipped.

Legend: P prompts (groups), G rollouts per group, row = index of a rollout in the generation, group = row // G.
"""

from collections.abc import Sequence
from dataclasses import dataclass


MicroStep = tuple[tuple[int, ...], ...]  # one tuple of rows per process


@dataclass(frozen=True)
class StepPlan:
    """
    One optimizer step's part of a generation.

    Args:
        groups (`range`):
            The groups of the step, kept or not.
        micro_steps (`tuple` of `MicroStep`):
            Rows per process for every micro-step; a micro-step without any row anywhere is skipped.
        whole_groups (`bool`):
            Whether the kept rows of each group lie in one micro-step. If not, a step that is off policy needs a
            scoring pass before its first micro-step.
    """

    groups: range
    micro_steps: tuple[MicroStep, ...]
    whole_groups: bool

    def __post_init__(self):
        if len({len(micro_step) for micro_step in self.micro_steps}) > 1:
            raise ValueError("every micro-step must name the rows of every process")

    def rows(self, process: int) -> list[int]:
        """The rows that a process runs in this step."""
        return [row for micro_step in self.micro_steps for row in micro_step[process]]


def plan_generation(
    lengths: Sequence[int],
    keep: Sequence[bool],
    num_generations: int,
    num_steps: int,
    micro_steps_per_step: int,
    num_processes: int,
    rows_per_process: int,
) -> list[StepPlan]:
    """
    Plan all optimizer steps of one generation.

    Args:
        lengths (`Sequence[int]`):
            Tokens (prompt and completion) of every row.
        keep (`Sequence[bool]`):
            Whether a row has a gradient.
        num_generations (`int`):
            G; rows are in group order.
        num_steps (`int`):
            Optimizer steps that share the generation.
        micro_steps_per_step (`int`):
            Micro-steps of each.
        num_processes (`int`):
            Processes that run each micro-step together.
        rows_per_process (`int`):
            Most rows that a process takes in one micro-step (`per_device_train_batch_size`).

    Returns:
        `list[StepPlan]`: One plan per optimizer step.

    Raises:
        `ValueError`: If the groups cannot be shared out whole between the optimizer steps.
    """
    num_groups, rest = divmod(len(lengths), num_generations)
    per_step, rest_of_groups = divmod(num_groups, num_steps)
    if rest or rest_of_groups:
        raise ValueError(
            f"{len(lengths)} rollouts in groups of {num_generations} cannot be shared out whole between {num_steps} "
            "optimizer steps."
        )
    capacity = num_processes * rows_per_process
    plans = []
    for step in range(num_steps):
        groups = range(step * per_step, (step + 1) * per_step)
        kept = [
            [row for row in range(group * num_generations, (group + 1) * num_generations) if keep[row]]
            for group in groups
        ]
        bins, whole = _pack([rows for rows in kept if rows], lengths, capacity, micro_steps_per_step)
        empty = [()] * (micro_steps_per_step - len(bins))
        micro_steps = tuple(_deal(rows, lengths, num_processes) for rows in [*empty, *bins])
        plans.append(StepPlan(groups, micro_steps, whole))
    return plans


def _pack(groups: list[list[int]], lengths: Sequence[int], capacity: int, most: int) -> tuple[list[list[int]], bool]:
    """Rows per micro-step, longest first, and whether each group is whole in one. At most `most` micro-steps."""
    bins: list[list[int]] = []
    for rows in sorted(groups, key=lambda rows: max(lengths[row] for row in rows), reverse=True):
        if not bins or len(bins[-1]) + len(rows) > capacity:
            bins.append([])
        bins[-1].extend(rows)
    if len(bins) <= most and all(len(rows) <= capacity for rows in bins):
        return bins, True
    by_length = sorted((row for rows in groups for row in rows), key=lambda row: lengths[row], reverse=True)
    return [by_length[start : start + capacity] for start in range(0, len(by_length), capacity)], False


def _deal(rows: Sequence[int], lengths: Sequence[int], num_processes: int) -> MicroStep:
    """Deal the rows of a micro-step round the processes, longest first, so that all pad and compute about the same."""
    by_length = sorted(rows, key=lambda row: lengths[row], reverse=True)
    return tuple(tuple(by_length[process::num_processes]) for process in range(num_processes))
