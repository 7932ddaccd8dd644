"""What rows save that compute their common prompt once, and how such rows are dealt to processes. Pure integers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from typing import TypeVar


Item = TypeVar("Item")
Part = tuple[int, list[int]]  # cost, rows with one prompt

LEAST_SHARE = 0.1  # of a forward's tokens: what sharing must save unless the user asks for it
# A row still holds and reads the keys and values of a shared prefix: one part in so many of what the tokens would cost
KEYS_SHARE = 5


@dataclass(frozen=True)
class Sharing:
    """Rows with the same prompt compute it once in a forward, except its last token, which predicts several."""

    keys: Sequence[int]  # the same number for rows with the same prompt
    prompts: Sequence[int]  # tokens of every row's prompt
    lengths: Sequence[int]  # tokens of every row
    least: float = LEAST_SHARE  # share of a forward's tokens that sharing must save

    def saved(self, rows: Iterable[int]) -> int:
        """Tokens that a forward with these rows does not compute; 0 if that is less than the least."""
        rows = list(rows)
        saved = sum((len(family) - 1) * (self.prompts[family[0]] - 1) for family in self.families(rows))
        return saved if saved >= self.least * sum(self.lengths[row] for row in rows) else 0

    def cost(self, rows: Iterable[int]) -> int:
        """Cost of a forward with these rows, in tokens."""
        rows = list(rows)
        return sum(self.lengths[row] for row in rows) - self._gain(self.saved(rows))

    def floors(self, rows: Iterable[int]) -> list[int]:
        """The least that each row adds to the cost of a forward with the rows before it."""
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
    """The rows of every process: rows with the same prompt stay together unless that makes one process the slowest."""
    parts = [(cost(family), family) for family in families]
    loads, dealt = deal(parts, processes)
    while halved := _halve_largest(dealt[loads.index(max(loads))], cost):
        whole, halves = halved
        parts = [part for part in parts if part is not whole] + halves
        new_loads, new_dealt = deal(parts, processes)
        if sorted(new_loads, reverse=True) >= sorted(loads, reverse=True):
            break
        loads, dealt = new_loads, new_dealt
    return [[row for _, rows in parts for row in rows] for parts in dealt]


def deal(parts: list[Part], processes: int) -> tuple[list[int], list[list[Part]]]:
    """Each part, most expensive first, to the process with the least so far."""
    dealt: list[list[Part]] = [[] for _ in range(processes)]
    held = [(0, process) for process in range(processes)]
    for part in sorted(parts, key=lambda part: part[0], reverse=True):
        load, process = held[0]
        dealt[process].append(part)
        heapreplace(held, (load + part[0], process))
    return [sum(cost for cost, _ in parts) for parts in dealt], dealt


def _halve_largest(parts: list[Part], cost: Callable[[list[int]], int]) -> tuple[Part, list[Part]] | None:
    """The most expensive part that can be split, and its halves."""
    if not (parts := [part for part in parts if len(part[1]) > 1]):
        return None
    whole = max(parts, key=lambda part: part[0])
    return whole, [(cost(rows), rows) for rows in (whole[1][::2], whole[1][1::2])]
