"""What prompts that are computed once save, and how their rows are dealt to processes.

Pure integers, as `plan.py`, and the same on every process. The layout of such a forward is in `layouts.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from typing import TypeVar


Item = TypeVar("Item")
Part = tuple[int, list[int]]  # cost, rows of one prompt

LEAST_SHARE = 0.1  # of a forward's tokens: what sharing has to save where nobody asked for it
# A row still holds and reads the keys and values of a prefix that it does not compute: one part in so many of what the
# tokens would cost
KEYS_SHARE = 5


@dataclass(frozen=True)
class Sharing:
    """
    Rows with the same prompt compute it once in a forward, all but its last token, which predicts another one in each.

    Args:
        keys (`Sequence[int]`):
            The same number for rows with the same prompt.
        prompts, lengths (`Sequence[int]`):
            Tokens of every row's prompt, and of the whole row.
        least (`float`, *optional*, defaults to `0.1`):
            Share of a forward's tokens from which its prompts are shared.
    """

    keys: Sequence[int]
    prompts: Sequence[int]
    lengths: Sequence[int]
    least: float = LEAST_SHARE

    def saved(self, rows: Iterable[int]) -> int:
        """Tokens that a forward with these rows does not compute; 0 where that is less than the least."""
        rows = list(rows)
        saved = sum((len(family) - 1) * (self.prompts[family[0]] - 1) for family in self.families(rows))
        return saved if saved >= self.least * sum(self.lengths[row] for row in rows) else 0

    def cost(self, rows: Iterable[int]) -> int:
        """What a forward with these rows costs, in tokens."""
        rows = list(rows)
        return sum(self.lengths[row] for row in rows) - self._gain(self.saved(rows))

    def floors(self, rows: Iterable[int]) -> list[int]:
        """At least so much does each row add to a forward with those in front of it."""
        floors, seen = [], set()
        for row in rows:
            floors.append(self.lengths[row] - (self._gain(self.prompts[row] - 1) if self.keys[row] in seen else 0))
            seen.add(self.keys[row])
        return floors

    def families(self, rows: Iterable[int]) -> list[list[int]]:
        """The rows by prompt."""
        return by_prompt(rows, self.keys.__getitem__)

    @staticmethod
    def _gain(saved: int) -> int:
        return saved - -(-saved // KEYS_SHARE)


def by_prompt(items: Iterable[Item], key: Callable[[Item], int]) -> list[list[Item]]:
    """The items with the same key together, in the order in which the keys come."""
    families: dict[int, list[Item]] = {}
    for item in items:
        families.setdefault(key(item), []).append(item)
    return list(families.values())


def deal_families(families: list[list[int]], cost: Callable[[list[int]], int], processes: int) -> list[list[int]]:
    """
    Whole families to processes, and halves of those that make one process much slower than the others.

    Args:
        families (`list[list[int]]`):
            Rows with the same prompt.
        cost (`Callable`):
            Of some rows of one family.
        processes (`int`):
            How many share the rows.

    Returns:
        `list[list[int]]`: The rows of every process.
    """
    parts = [(cost(family), family) for family in families]
    loads, dealt = _deal(parts, processes)
    while halved := _halve_largest(dealt[loads.index(max(loads))], cost):
        whole, halves = halved
        parts = [part for part in parts if part is not whole] + halves
        new_loads, new_dealt = _deal(parts, processes)
        if sorted(new_loads, reverse=True) >= sorted(loads, reverse=True):
            break
        loads, dealt = new_loads, new_dealt
    return [[row for _, rows in parts for row in rows] for parts in dealt]


def _deal(parts: list[Part], processes: int) -> tuple[list[int], list[list[Part]]]:
    """Each part, dearest first, to the process with the least so far."""
    dealt: list[list[Part]] = [[] for _ in range(processes)]
    held = [(0, process) for process in range(processes)]
    for part in sorted(parts, key=lambda part: part[0], reverse=True):
        load, process = held[0]
        dealt[process].append(part)
        heapreplace(held, (load + part[0], process))
    return [sum(cost for cost, _ in parts) for parts in dealt], dealt


def _halve_largest(parts: list[Part], cost: Callable[[list[int]], int]) -> tuple[Part, list[Part]] | None:
    """The dearest part that can be cut, and its halves."""
    if not (parts := [part for part in parts if len(part[1]) > 1]):
        return None
    whole = max(parts, key=lambda part: part[0])
    return whole, [(cost(rows), rows) for rows in (whole[1][::2], whole[1][1::2])]
