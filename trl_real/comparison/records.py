"""Statistics of runs that differ in method, learning rate and seed."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
    """Mean and 95% interval of Student's t."""
    count = len(values)
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


def key_of(record: Record) -> tuple[str, float, int]:
    """What tells the records of runs apart: settings, learning rate and seed."""
    return record["settings"], record["learning_rate"], record["seed"]


def read_records(path: Path) -> list[Record]:
    """The records of a JSONL file; none if there is no file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def add_record(path: Path, record: Record) -> None:
    """Appends a record; the file is replaced, so that a kill leaves the old one or the new one."""
    lines = [json.dumps(each, separators=(",", ":")) for each in [*read_records(path), record]]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    temporary.replace(path)
