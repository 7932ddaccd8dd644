"""
The figures of a comparison, readable in print and on a dark page.

In: the records of every study. Out: a PNG file for each figure that a study names. `methods`: the held-out metric,
mean and 95% interval over seeds at the chosen learning rate, and a small mark for every other rate. `curves`: the
metric and the entropy during training. `costs`: the metric against optimizer steps, sampled tokens and CPU seconds.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from ..figures.style import BLUE, LOOKS, new_figure
from .records import Record, best_learning_rate, chosen_records, distinct, select, t_interval
from .study import Study


MARKS = ("v", "s", "^", "D", "P", "X", "<", ">")  # a learning rate each, from low to high
WIDTH, METHOD_HEIGHT = 7.5, 0.26  # inches
BELOW = dict(loc="outside lower center", frameon=False)


def draw_methods(records: list[Record], title: str, label: str, path: Path) -> None:
    """The metric of every method: the chosen learning rate with its interval, the others as small hollow marks."""
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


def draw_curves(records: list[Record], methods: list[str], title: str, path: Path) -> None:
    """Means over seeds of what the probe saw, the same held-out prompts for every method, at its chosen rate."""
    with new_figure(path, 9, 4, title) as figure:
        panels = figure.subplots(1, 2)
        for panel, curve, name in zip(
            panels, ("pass", "entropy"), ("pass@1", "entropy (nats per token)"), strict=True
        ):
            for method, look in zip(methods, LOOKS, strict=False):
                chosen = chosen_records(select(records, method=method))
                label = f"{method}, lr {chosen[0]['learning_rate']:g}"
                panel.plot(chosen[0]["probe"]["step"], _means(chosen, curve), **look, label=label)
            panel.set_title(f"Held-out {name}")
            panel.set_xlabel("optimizer step")
            panel.set_ylim(bottom=0)
        figure.legend(*panels[0].get_legend_handles_labels(), ncols=3, **BELOW)


def draw_costs(records: list[Record], title: str, path: Path) -> None:
    """Held-out pass@1 of every method, mean over seeds at its chosen rate, against three things that it costs."""
    axes = dict(step="optimizer steps", tokens="sampled tokens", cpu="CPU seconds, without scoring")
    with new_figure(path, 9, 3.9, title) as figure:
        panels = figure.subplots(1, len(axes), sharey=True)
        for panel, (cost, name) in zip(panels, axes.items(), strict=True):
            for method, look in zip(distinct(records, "method"), LOOKS, strict=False):
                chosen = chosen_records(select(records, method=method))
                errors = [t_interval(values).half_width for values in _columns(chosen, "pass")]
                label = f"{method}, lr {chosen[0]['learning_rate']:g} ({len(chosen)} seeds)"
                panel.errorbar(
                    _means(chosen, cost), _means(chosen, "pass"), yerr=errors, capsize=2, label=label, **look
                )
            panel.set_xlabel(name)
            panel.set_xlim(left=0)
            panel.set_ylim(0, 1)
        panels[0].set_ylabel("held-out pass@1, 95% interval over seeds")
        figure.legend(*panels[0].get_legend_handles_labels(), ncols=3, **BELOW)


def _columns(records: list[Record], name: str) -> list[tuple[float, ...]]:
    return list(zip(*(record["probe"][name] for record in records), strict=True))


def _means(records: list[Record], name: str) -> list[float]:
    return [sum(values) / len(values) for values in _columns(records, name)]


def draw(studies: Sequence[tuple[Study, list[Record]]], folder: Path) -> list[Path]:
    """Writes the figures that the studies name; returns their files."""
    written = []
    for study, records in studies:
        title = textwrap.fill(study.title or study.name, 70)
        for kind, options in study.figures.items():
            path = folder / f"{study.name}_{kind}.png"
            if kind == "curves":
                draw_curves(records, options, title, path)
            elif kind == "costs":
                draw_costs(records, title, path)
            else:
                draw_methods(records, title, study.label or f"held-out {study.metric}", path)
            written.append(path)
    return written
