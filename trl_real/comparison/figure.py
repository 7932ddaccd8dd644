"""
The figure of a comparison, readable in print and on a dark page: the held-out metric of each method with its mean and
95% interval over seeds at the chosen learning rate, and a small mark for every other rate.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..figures.style import BLUE, new_figure
from .records import Record, best_learning_rate, distinct, select, t_interval
from .study import Study


MARKS = ("v", "s", "^", "D", "P", "X", "<", ">")  # a learning rate each, from low to high
WIDTH, METHOD_HEIGHT = 7.5, 0.26  # inches
BELOW: dict[str, Any] = dict(loc="outside lower center", frameon=False)


def draw_methods(records: list[Record], title: str, label: str, path: Path) -> None:
    """Draws one study; `label` is what it calls the metric."""
    methods, rates = distinct(records, "method"), sorted(distinct(records, "learning_rate"))
    marks = dict(zip(rates, MARKS, strict=False))
    with new_figure(path, WIDTH, 1.9 + METHOD_HEIGHT * len(methods), title) as figure:
        panel = figure.subplots()
        for row, method in enumerate(methods):
            mine = select(records, method=method)
            chosen = best_learning_rate(mine)
            for rate in distinct(mine, "learning_rate"):
                interval = t_interval([record["test"] for record in select(mine, learning_rate=rate)])
                if rate != chosen:
                    panel.plot(interval.mean, row, marks[rate], color="0.45", markersize=4, fillstyle="none")
                    continue
                error = interval.half_width if interval.count > 1 else 0
                panel.errorbar(interval.mean, row, xerr=error, fmt=marks[rate], color=BLUE, capsize=3, markersize=6)
        panel.set_yticks(range(len(methods)), methods)
        panel.set_ylim(len(methods) - 0.5, -0.5)
        panel.set_xlabel(f"{label}; filled: the chosen learning rate, with its 95% interval; hollow: the others")
        handles = [panel.plot([], [], mark, color="0.3", markersize=5)[0] for mark in marks.values()]
        figure.legend(handles, [f"lr {rate:g}" for rate in rates], ncols=len(rates), **BELOW)


def draw(studies: Sequence[tuple[Study, list[Record]]], folder: Path) -> list[Path]:
    """Writes the figures that the studies want; returns their files."""
    wanted = {folder / f"{study.name}_methods.png": (study, records) for study, records in studies if study.figure}
    for path, (study, records) in wanted.items():
        draw_methods(records, wrap_title(study), study.label or f"held-out {study.metric}", path)
    return [*wanted]


def wrap_title(study: Study) -> str:
    """The heading of a study's figures."""
    return textwrap.fill(study.title or study.name, 70)
