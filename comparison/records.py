"""
Statistics of runs that differ in method, learning rate and seed, and their table.

In: one record per run, as `compare.py` writes them. Out: means with 95% intervals over seeds, the learning rate
that the validation prompts choose, paired differences, and a Markdown table. Plain Python; drawing is left out.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trl_real.metrics.drift import DriftWatch


Record = dict[str, Any]

# 97.5% quantiles of Student's t with 1, 2, ... 30 degrees of freedom
T_QUANTILES = (
    [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228]
    + [2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086]
    + [2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042]
)


@dataclass(frozen=True)
class Interval:
    """A mean, half the width of its 95% interval (`nan` for one value) and the number of values."""

    mean: float
    half_width: float
    count: int

    def __format__(self, specification: str) -> str:
        style = specification or ".3f"
        width = "" if math.isnan(self.half_width) else f" ± {self.half_width:{style.lstrip('+')}}"
        return f"{self.mean:{style}}{width}"


def t_interval(values: Sequence[float]) -> Interval:
    """Mean and 95% interval of Student's t; `ValueError` without values."""
    count = len(values)
    if not count:
        raise ValueError("`values` must hold at least one number.")
    mean = sum(values) / count
    if count == 1:
        return Interval(mean, math.nan, 1)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    freedom = count - 1
    quantile = T_QUANTILES[freedom - 1] if freedom <= len(T_QUANTILES) else 1.96 + 2.4 / freedom
    return Interval(mean, quantile * deviation / math.sqrt(count), count)


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """The records with these values, by seed."""
    found = [record for record in records if all(record[name] == value for name, value in wanted.items())]
    return sorted(found, key=lambda record: record["seed"])


def distinct(records: Iterable[Record], name: str) -> list[Any]:
    """The different values of a field, in order of first appearance."""
    return list(dict.fromkeys(record[name] for record in records))


def best_learning_rate(records: Sequence[Record]) -> float:
    """
    The learning rate with the highest mean pass@1 on the validation prompts, which are not those reported, over the
    seeds that every learning rate has.
    """
    rates = distinct(records, "learning_rate")
    seeds = set.intersection(*({run["seed"] for run in select(records, learning_rate=rate)} for rate in rates))
    swept = [record for record in records if record["seed"] in seeds] or records
    return max(rates, key=lambda rate: mean_of(select(swept, learning_rate=rate), lambda run: run["validation"]))


def chosen_records(records: Sequence[Record]) -> list[Record]:
    """Those of one method at the learning rate chosen for it, by seed."""
    return select(records, learning_rate=best_learning_rate(records))


def cost_of_level(record: Record, level: float, cost: str) -> float | None:
    """
    What it cost until the probe saw this pass@1 for the first time, on a straight line between its points.

    Args:
        record (`dict`):
            Of one run.
        level (`float`):
            Pass@1 to reach.
        cost (`str`):
            `"step"`, `"tokens"` (sampled) or `"cpu"` (seconds without scoring).

    Returns:
        `float` or `None`: `None` if the run never got there.
    """
    passes, costs = record["probe"]["pass"], record["probe"][cost]
    if passes[0] >= level:
        return costs[0]
    for index in range(1, len(passes)):
        if passes[index] >= level:
            share = (level - passes[index - 1]) / (passes[index] - passes[index - 1])
            return costs[index - 1] + share * (costs[index] - costs[index - 1])
    return None


def mean_of(records: Sequence[Record], read: Any) -> float:
    """Mean of what `read` gives for each record, without those where it gives `None`; `nan` if none is left."""
    values = [value for value in map(read, records) if value is not None]
    return sum(values) / len(values) if values else math.nan


def paired_difference(first: Sequence[Record], second: Sequence[Record]) -> Interval | None:
    """Mean difference in test pass@1 over the seeds that both have; `None` if they share none."""
    others = {record["seed"]: record["test"] for record in second}
    differences = [record["test"] - others[record["seed"]] for record in first if record["seed"] in others]
    return t_interval(differences) if differences else None


def curve_mean(name: str) -> Any:
    """Reads the mean over a run of one of its curves; `None` if it was not logged."""

    def read(record: Record) -> float | None:
        points = [value for value in record["curve"].get(name, []) if value is not None]
        return sum(points) / len(points) if points else None

    return read


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def table_row(records: Sequence[Record], reference: Sequence[Record]) -> list[str]:
    """One method of one study, at the learning rate chosen for it, against another method at its own."""
    rate = best_learning_rate(records)
    best = select(records, learning_rate=rate)
    yardstick = select(reference, learning_rate=best_learning_rate(reference))
    difference = paired_difference(best, yardstick)
    is_reference = best[0]["method"] == yardstick[0]["method"]
    rates = sorted(distinct(records, "learning_rate"))
    at_rates = [t_interval([record["test"] for record in select(records, learning_rate=each)]) for each in rates]
    return [
        best[0]["method"],
        f"{rate:g}",
        f"{t_interval([record['test'] for record in best])}",
        "" if is_reference or difference is None else f"{difference:+.3f}",
        "; ".join(f"{each:g}: {it.mean:.3f} ({it.count})" for each, it in zip(rates, at_rates, strict=True)),
        _number(mean_of(best, lambda record: record["entropy"]), 3),
        _number(mean_of(best, curve_mean("grad_norm")), 2),
        _number(mean_of(best, lambda record: record.get("clipped_steps")), 2),
        _number(mean_of(best, curve_mean("abs_score")), 3),
        _number(mean_of(best, curve_mean("clip")), 3),
        _number(mean_of(best, lambda record: record["cpu_seconds"]), 0),
        _number(mean_of(best, lambda record: record["trained_tokens"] / 1000), 0),
    ]


COLUMNS = [
    "method",
    "lr",
    "test pass@1",
    "minus first row",
    "at every lr (seeds)",
    "entropy",
    "grad norm",
    "clipped steps",
    "mean abs score",
    "clip share",
    "CPU s",
    "k tokens",
]


def is_warned(record: Record, tau: float, steps: int) -> bool:
    """Whether [`DriftWatch`] would have warned, nearly: it sees the points of a curve, means over so many steps."""
    watch = DriftWatch(tau)
    for right, size in zip(record["curve"]["positive_score"], record["curve"]["abs_score"], strict=True):
        if right is None:
            continue
        metrics = {"scores/positive_mean": right, "scores/abs_mean": size}
        if any(watch.warning(metrics) for _ in range(steps)):
            return True
    return False


def drift_table(studies: dict[str, list[Record]]) -> str:
    """
    How far scores went with every method and learning rate of REAL, and how many of the runs would have been warned.

    Args:
        studies (`dict[str, list[Record]]`):
            Records by study, each with the `tau` it was trained with; `None` if the warning is off.
    """
    rows, seen = [], set()
    for study, records in studies.items():
        scored = [record for record in records if "abs_score" in record["curve"]]
        for method in distinct(scored, "method"):
            for rate in sorted(distinct(select(scored, method=method), "learning_rate")):
                runs = select(scored, method=method, learning_rate=rate)
                if (runs[0]["settings"], rate) in seen:
                    continue  # the same runs as in an earlier study
                seen.add((runs[0]["settings"], rate))
                size, right = (mean_of(runs, curve_mean(name)) for name in ("abs_score", "positive_score"))
                warned = sum(is_warned(run, run["tau"], steps_per_point(run)) for run in runs if run["tau"])
                test = t_interval([run["test"] for run in runs])
                named = [study, method, f"{rate:g}", f"{test:.3f}"]
                rows.append(
                    [*named, f"{size:.4f}", f"{right:+.4f}", f"{warned} of {len(runs)}" if runs[0]["tau"] else "off"]
                )
    columns = ["study", "method", "lr", "test pass@1", "mean abs score", "mean score of right ones", "warned"]
    return markdown_table(columns, rows)


def steps_per_point(record: Record) -> int:
    """Optimizer steps that a point of the record's curves is a mean over."""
    return max(1, record["probe"]["step"][-1] // max(map(len, record["curve"].values())))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def study_table(records: Sequence[Record]) -> str:
    """The table of one study: a row for every method, the first of which is the yardstick."""
    methods = distinct(records, "method")
    reference = select(records, method=methods[0])
    return markdown_table(COLUMNS, [table_row(select(records, method=method), reference) for method in methods])


def cost_table(records: Sequence[Record], level: float) -> str:
    """What every method costs in all and until a level of pass@1, at its chosen learning rate."""
    rows = []
    for method in distinct(records, "method"):
        chosen = chosen_records(select(records, method=method))
        row = [method, f"{chosen[0]['learning_rate']:g}", f"{len(chosen)}"]
        row.append(f"{t_interval([record['test'] for record in chosen])}")
        row.append(f"{t_interval([record['cpu_seconds'] for record in chosen]).mean:.0f}")
        costs = {cost: [cost_of_level(record, level, cost) for record in chosen] for cost in ("step", "tokens", "cpu")}
        reached = sum(value is not None for value in costs["cpu"])
        row.append(f"{reached} of {len(chosen)}")
        row += [f"{t_interval(values):.0f}" if None not in values else "" for values in costs.values()]
        rows.append(row)
    columns = ["method", "lr", "seeds", "test pass@1", "CPU s in all", f"reached {level:g}"]
    return markdown_table([*columns, "steps until then", "sampled tokens", "CPU s without scoring"], rows)
