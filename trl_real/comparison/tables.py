"""The tables of a comparison: `short` ones to choose a method, `full` ones to explain it; and a verdict."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .records import (
    Interval,
    Record,
    chosen_records,
    curve_mean,
    distinct,
    mean_of,
    paired_difference,
    select,
    t_interval,
)
from .study import Study


class Row(NamedTuple):
    """One method: all of its records, those at its chosen learning rate, and those of the first method at its own."""

    all: list[Record]
    best: list[Record]
    reference: list[Record]

    @property
    def difference(self) -> Interval | None:
        """From the first method, paired by seed; none for the first itself."""
        is_reference = self.best[0]["method"] == self.reference[0]["method"]
        return None if is_reference else paired_difference(self.best, self.reference)


def compare_rows(records: Sequence[Record]) -> list[Row]:
    """Each method, and the first again beside it."""
    methods = [select(records, method=method) for method in distinct(records, "method")]
    reference = chosen_records(methods[0])
    return [Row(mine, chosen_records(mine), reference) for mine in methods]


def _tests(records: Iterable[Record]) -> Interval:
    return t_interval([record["test"] for record in records])


def _at_every_rate(row: Row) -> str:
    at_rates = {rate: _tests(select(row.all, learning_rate=rate)) for rate in distinct(row.all, "learning_rate")}
    return "; ".join(f"{rate:g}: {at_rates[rate].mean:.3f} ({at_rates[rate].count})" for rate in sorted(at_rates))


def _mean(read: str | Callable[[Record], float | None], digits: int, unit: float = 1) -> Callable[[Row], str]:
    """A column: the mean over seeds of a number of the record; empty if no record has it."""
    get = read if callable(read) else lambda record: record.get(read)

    def column(row: Row) -> str:
        value = mean_of(row.best, get) / unit
        return "" if math.isnan(value) else f"{value:.{digits}f}"

    return column


COLUMNS: dict[str, Callable[[Row], str]] = {
    "method": lambda row: row.best[0]["method"],
    "lr": lambda row: f"{row.best[0]['learning_rate']:g}",
    "seeds": lambda row: f"{len(row.best)}",
    "held-out": lambda row: f"{_tests(row.best)}",
    "test pass@1": lambda row: f"{_tests(row.best)}",
    "minus first row": lambda row: f"{row.difference:+.3f}" if row.difference else "",
    "at every lr (seeds)": _at_every_rate,
    "entropy": _mean("entropy", 3),
    "grad norm": _mean(curve_mean("grad_norm"), 2),
    "clipped steps": _mean("clipped_steps", 2),
    "mean abs score": _mean(curve_mean("abs_score"), 3),
    "clip share": _mean(curve_mean("clip"), 3),
    "rollouts": _mean("rollouts", 0),
    "tokens sampled": _mean("sampled_tokens", 0),
    "tokens trained": _mean("trained_tokens", 0),
    "seconds": _mean("seconds", 0),
    "CPU s": _mean("cpu_seconds", 0),
    "k tokens": _mean("trained_tokens", 0, unit=1000),
}
SHORT = ("method", "lr", "seeds", "held-out", "minus first row", "rollouts", "tokens sampled", "tokens trained")
SHORT += ("seconds",)
FULL = ("method", "lr", "test pass@1", "minus first row", "at every lr (seeds)", "entropy", "grad norm")
FULL += ("clipped steps", "mean abs score", "clip share", "CPU s", "k tokens")


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def study_table(records: Sequence[Record], columns: Sequence[str] = SHORT) -> str:
    """A row for every method at the learning rate chosen for it; the first row is what others are compared with."""
    return markdown_table(columns, [[COLUMNS[name](row) for name in columns] for row in compare_rows(records)])


def verdict(study: Study, records: Sequence[Record]) -> str:
    """One sentence: which differences from the first method are resolved: their 95% interval excludes zero."""
    first, *others = compare_rows(records)
    if not others:
        return "Nothing is compared: there are records of one method only."
    name = first.best[0]["method"]
    groups: dict[str, list[str]] = {f"resolved against {name}": [], f"not resolved against {name}": []}
    for row in others:
        difference = row.difference
        resolved = difference is not None and abs(difference.mean) > difference.half_width
        told = f"{row.best[0]['method']} {f'{difference:+.3f}' if difference else '(no seed in common)'}"
        groups[f"{'' if resolved else 'not '}resolved against {name}"].append(told)
    parts = [f"{kind}: {', '.join(told)}" for kind, told in groups.items() if told]
    seeds = len({record["seed"] for record in first.best})
    hint = " (one seed has no interval: train more)" if seeds == 1 else ""
    return f"Held-out {study.metric} over {seeds} seed{'s' * (seeds > 1)}, {'; '.join(parts)}{hint}."


def edges(records: Sequence[Record]) -> list[str]:
    """A sentence for each method whose best learning rate is the lowest or highest of several."""
    found = []
    for row in compare_rows(records):
        rates, best = sorted(distinct(row.all, "learning_rate")), row.best[0]["learning_rate"]
        if len(rates) > 1 and best in (rates[0], rates[-1]):
            side, further = ("lowest", rates[0] / 2) if best == rates[0] else ("highest", rates[-1] * 2)
            name = row.best[0]["method"]
            found.append(f"{name}: its best learning rate, {best:g}, is the {side} tested; also test {further:g}.")
    return found


def report(studies: Sequence[tuple[Study, list[Record]]]) -> str:
    """The page of tables, from the records of each study."""
    parts = []
    for study, records in studies:
        columns = FULL if study.table == "full" else SHORT
        parts.append(f"### {study.title or study.name}\n\n{study_table(records, columns)}\n")
        if study.table == "short":
            parts.append("\n".join([verdict(study, records), *edges(records), ""]))
    return "\n".join(parts)
