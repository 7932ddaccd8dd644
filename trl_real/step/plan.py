"""Labels and lengths -> the plan of a generation: which rollout runs in which optimizer step, micro-step and process.

Pure integers, the same on every process, no tensors. Groups go to optimizer steps in data order, so that neither the
number of processes nor the batching changes what a step trains on. Within a step only rollouts with a gradient are
run. A micro-step has complete groups if possible, since their weights depend on each other, and as many as fit the
memory of `rows_per_process` rollouts of the longest kind. Packed rows go into one forward, or into two if their
positions require it; those that share a prompt stay together if that is less work for the slowest process. Padded rows
go into forwards of similar length, to pad little.

Legend: P prompts (groups), G rollouts per group, row = index of a rollout in the generation, group = row // G.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice, pairwise
from typing import cast

from .sharing import Sharing, deal, deal_families


Forward = tuple[tuple[int, ...], ...]  # rows of one forward, by process
MicroStep = tuple[Forward, ...]

SPLIT_RATIO = 0.85  # a row below this share of the longest in its forward starts another forward,
SPLIT_SHARE = 8  # once that forward has one part in this many of the tokens that fit


@dataclass(frozen=True)
class StepPlan:
    """One optimizer step's part of a generation."""

    groups: range  # of the step, kept or not
    micro_steps: tuple[MicroStep, ...]  # those without forwards, which are skipped, come first
    whole_groups: bool  # the kept rows of each group share a backward; if not, an off-policy step needs a scoring pass
    one_per_backward: bool = False  # every forward has its own backward; otherwise those of a micro-step share one

    @property
    def trained(self) -> int:
        """Rows that are run, on all processes."""
        return sum(len(rows) for micro_step in self.micro_steps for forward in micro_step for rows in forward)

    def rows(self, process: int) -> list[int]:
        """The rows that a process runs in this step."""
        return [row for micro_step in self.micro_steps for forward in micro_step for row in forward[process]]


@dataclass(frozen=True)
class Capacity:
    """What fits into a micro-step."""

    processes: int  # that run it together
    rows: int  # rollouts of the longest kind that a process can hold (`per_device_train_batch_size`)
    prompts: Sequence[int]  # tokens of every row's prompt
    completions: Sequence[int]
    packed: bool = False  # rows are packed one after another instead of padded
    position_limit: int | None = None  # longer rows share no forward with others, whose positions they would change
    sharing: Sharing | None = None  # for packed rows that share prompts
    one_per_backward: bool = False  # every forward needs its own backward

    @cached_property
    def tokens(self) -> int:
        """Tokens, padding included, that a process can hold: those of `rows` of the longest kind in TRL's layout."""
        return self.rows * (max(self.prompts) + max(self.completions))

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of every row."""
        return [prompt + completion for prompt, completion in zip(self.prompts, self.completions, strict=True)]

    @cached_property
    def ranks(self) -> list[int]:
        """The longer a row, the earlier it is planned; rows that share a prompt rank as the longest of them."""
        if self.sharing is None:
            return self.lengths
        longest = {}
        for family in self.sharing.families(range(len(self.lengths))):
            longest |= dict.fromkeys(family, max(self.lengths[row] for row in family))
        return [longest[row] for row in range(len(self.lengths))]

    def forwards(self, rows: Iterable[int], by_length: bool = True) -> MicroStep | None:
        """The forwards of a micro-step, several for padded rows of different length; `None` if the rows do not fit."""
        rows = sorted(rows, key=self.lengths.__getitem__, reverse=True)
        return self._packed_forwards(rows) if self.packed else self._padded_forwards(rows, by_length)

    def _is_long(self, row: int) -> bool:
        return self.position_limit is not None and self.lengths[row] > self.position_limit

    def _packed_forwards(self, rows: list[int]) -> MicroStep | None:
        """Dealt row by row, or the rows of a prompt together if that costs the process with most less."""
        dealt = self._dealt_by_row(rows)
        if self.sharing:
            families = [family for side in self._sides(rows) for family in self.sharing.families(side)]
            together = deal_families(families, self.sharing.cost, self.processes)
            dealt = min((together, dealt), key=lambda dealt: max(map(self._cost, dealt)))
        if max(map(self._cost, dealt)) > self.tokens:
            return None
        sides = zip(*map(self._sides, dealt), strict=True)
        return tuple(tuple(map(tuple, forward)) for forward in sides if any(forward))

    def _dealt_by_row(self, rows: list[int]) -> list[list[int]]:
        """Each row, longest first, to the process with the fewest tokens so far."""
        _, dealt = deal([(self.lengths[row], [row]) for row in rows], self.processes)
        return [[row for _, [row] in parts] for parts in dealt]

    def _sides(self, rows: list[int]) -> tuple[list[int], list[int]]:
        """The rows beyond the limit of positions, and those within."""
        long = [row for row in rows if self._is_long(row)]
        return long, [row for row in rows if not self._is_long(row)]

    def _cost(self, rows: list[int]) -> int:
        """Tokens that a process holds with these rows."""
        if self.sharing is None:
            return sum(self.lengths[row] for row in rows)
        return sum(map(self.sharing.cost, self._sides(rows)))

    def _padded_forwards(self, rows: list[int], by_length: bool) -> MicroStep | None:
        """Longest first, dealt round the processes."""
        starts, processes = [0], range(self.processes)
        for index, row in enumerate(rows):
            longest, count = self.lengths[rows[starts[-1]]], index - starts[-1]
            enough = count >= self.processes and count * longest * SPLIT_SHARE >= self.tokens * self.processes
            shorter = enough and self.lengths[row] < SPLIT_RATIO * longest and by_length
            if shorter or self._is_long(row) != self._is_long(rows[starts[-1]]):
                starts.append(index)
        # A row's process depends on its rank among all, so that no process has two rows more than another
        forwards = tuple(
            tuple(
                tuple(rows[start + (process - start) % self.processes : end : self.processes]) for process in processes
            )
            for start, end in pairwise([*starts, len(rows)])
        )
        # The first row of a process is its longest
        held = [
            sum(len(forward[p]) * self.lengths[forward[p][0]] for forward in forwards if forward[p]) for p in processes
        ]
        return forwards if max(held) <= self.tokens else None


def plan_generation(
    capacity: Capacity,
    keep: Sequence[bool],
    num_generations: int,
    num_steps: int,
    micro_steps_per_step: int,
    on_policy_step: int | None = None,
) -> list[StepPlan]:
    """
    Plan all optimizer steps of one generation. Raises `ValueError` if one would have incomplete groups.

    `keep` tells for every row, in group order, whether it has a gradient. Weights of the `on_policy_step` are known
    without scores, so that its groups may be spread over micro-steps.
    """
    num_groups, rest = divmod(len(keep), num_generations)
    per_step, rest_of_groups = divmod(num_groups, num_steps)
    if rest or rest_of_groups:
        raise ValueError(
            f"{len(keep)} rollouts in groups of {num_generations} do not make {num_steps} optimizer steps of complete "
            "groups."
        )
    plans = []
    for step in range(num_steps):
        groups = range(step * per_step, (step + 1) * per_step)
        rows = (range(group * num_generations, (group + 1) * num_generations) for group in groups)
        kept = [members for members in ([row for row in group if keep[row]] for group in rows) if members]
        packed = None if step == on_policy_step else _pack(kept, capacity, not capacity.one_per_backward)
        whole = packed is not None and len(packed) <= micro_steps_per_step
        if packed is None or not whole:  # single rows always fit: `rows_per_process` of the longest do
            packed = cast(list[MicroStep], _pack([[row] for members in kept for row in members], capacity))
        empty = [()] * (micro_steps_per_step - len(packed))
        whole = whole or len(packed) <= 1
        if capacity.one_per_backward:
            whole = _in_one_forward_each(packed, num_generations)
        plans.append(StepPlan(groups, (*empty, *packed), whole, capacity.one_per_backward))
    return plans


def _in_one_forward_each(micro_steps: list[MicroStep], num_generations: int) -> bool:
    """Whether no group has rows in two forwards."""
    forwards = (forward for micro_step in micro_steps for forward in micro_step)
    groups = [{row // num_generations for rows in forward for row in rows} for forward in forwards]
    return sum(map(len, groups)) == len(set().union(*groups))


def _pack(units: list[list[int]], capacity: Capacity, by_length: bool = True) -> list[MicroStep] | None:
    """Micro-steps with complete units, longest first; `None` if a unit does not fit into one."""
    packed, start = [], 0
    units = sorted(units, key=lambda rows: max(capacity.ranks[row] for row in rows), reverse=True)
    ordered = [row for rows in units for row in rows]
    floors = iter(capacity.sharing.floors(ordered) if capacity.sharing else map(capacity.lengths.__getitem__, ordered))
    tokens = list(accumulate((sum(islice(floors, len(rows))) for rows in units), initial=0))
    while start < len(units):
        # Bisection between one unit and all that would fit without padding
        end, forwards = start, None
        low, high = start + 1, bisect_right(tokens, tokens[start] + capacity.tokens * capacity.processes) - 1
        while low <= high:
            middle = (low + high + 1) // 2
            trial = capacity.forwards((row for rows in units[start:middle] for row in rows), by_length)
            if trial is None:
                high = middle - 1
            else:
                end, forwards, low = middle, trial, middle + 1
        if forwards is None:
            return None
        packed.append(forwards)
        start = end
    return packed
