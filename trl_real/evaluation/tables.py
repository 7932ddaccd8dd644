"""
The tables of an evaluation, in Markdown.

In: results by model and set. Out: a table like the paper's Table 1 with intervals, with the paper's rows if wanted;
the details of each model and set; the differences to the first model. Left out: the numbers (`results.py`).
"""

from collections.abc import Sequence

import numpy as np

from .estimates import Estimate
from .published import COLUMNS, TABLES
from .results import Result, average, difference
from .trained_on import known_overlap


Results = dict[str, dict[str, Result]]  # by model, then by set

NOTHING = "–"
CONTAMINATED = " †"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are aligned for the eye as well."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def set_titles(results: Results) -> dict[str, str]:
    """Titles of all sets, in the order in which they come; the paper's six in the paper's order."""
    titles = {name: result.settings["title"] for sets in results.values() for name, result in sets.items()}
    order = [name for name in COLUMNS if name in titles] + [name for name in titles if name not in COLUMNS]
    return {name: titles[name] for name in order}


def pass_table(results: Results, with_paper: bool = False) -> str:
    """Pass@1 with intervals: models down, sets across, and their average."""
    titles = set_titles(results)
    header, many = ["Pass@1", *titles.values()], len(titles) > 1
    rows = []
    for model, sets in results.items():
        cells = [
            _cell(sets[name].estimates["pass@1"]) + (CONTAMINATED if overlap_of(sets[name]) else "")
            if name in sets
            else NOTHING
            for name in titles
        ]
        if many:
            cells.append(_cell(average([sets[name] for name in titles])) if len(sets) == len(titles) else NOTHING)
        rows.append([model, *cells])
    if with_paper and any(name in COLUMNS for name in titles):
        rows += _paper_rows(list(titles), many)
    return markdown([*header, "Avg."] if many else header, rows)


def overlap_of(result: Result) -> tuple[str, int] | None:
    """The training set of a model that holds problems of the set it was evaluated on, and how many."""
    return known_overlap(result.settings.get("training_data", []), result.set)


def _paper_rows(names: list[str], many: bool) -> list[list[str]]:
    rows = []
    for table, models in TABLES.items():
        rows.append([f"*the paper, {table}*", *[""] * (len(names) + many)])
        for model, values in models.items():
            *columns, printed = values
            known = [dict(zip(COLUMNS, columns, strict=True)).get(name) for name in names]
            cells = [NOTHING if value is None else f"{value:.3f}" for value in known]
            if many:
                average_known = printed if tuple(names) == COLUMNS else None if None in known else np.mean(known)
                cells.append(NOTHING if average_known is None else f"{average_known:.3f}")
            rows.append([model, *cells])
    return rows


def detail_table(results: Results) -> str:
    """Pass@k, how many answers were cut off or missing, and how long they were."""
    everything = [result for sets in results.values() for result in sets.values()]
    powers = sorted({name for result in everything for name in result.estimates if "@" in name}, key=_power)
    others = {"reward": "reward", "truncated": "truncated", "no_answer": "no answer", "tokens": "tokens"}
    others = {name: title for name, title in others.items() if any(name in each.estimates for each in everything)}
    rows = []
    for name, title in set_titles(results).items():
        for model, sets in results.items():
            if name in sets:
                result = sets[name]
                size = f"{len(result.right)} x {result.samples}"
                rows.append([title, model, size, *(_detail(result, metric) for metric in (*powers, *others))])
    return markdown(["set", "model", "problems x samples", *powers, *others.values()], rows)


def difference_table(results: Results) -> str:
    """Pass@1 of the other models less that of the first, problem by problem; empty with one model."""
    (first, base), *others = results.items()
    titles = set_titles(results)
    many, rows = len(titles) > 1, []
    for model, sets in others:
        both = [name for name in titles if name in sets and name in base]
        cells = [_signed(difference([base[name]], [sets[name]])) if name in both else NOTHING for name in titles]
        if many:
            whole = len(both) == len(titles)
            pair = ([base[name] for name in both], [sets[name] for name in both])
            cells.append(_signed(difference(*pair)) if whole else NOTHING)
        rows.append([model, *cells])
    header = [f"Pass@1 less that of {first}", *titles.values(), *(["Avg."] if many else [])]
    return markdown(header, rows) if rows else ""


def _power(name: str) -> int:
    return int(name.partition("@")[2])


def _cell(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _signed(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _detail(result: Result, metric: str) -> str:
    if metric not in result.estimates:
        return NOTHING
    value = result.estimates[metric].value
    return f"{value:,.0f}" if metric == "tokens" else f"{value:.3f}"
