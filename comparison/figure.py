"""
The figures of a comparison, readable in print and on a dark page.

In: the records of every study. Out: a PNG file for each study that the plan wants drawn. `draw_study`: test pass@1,
mean and 95% interval over seeds at the chosen learning rate, and a small mark for every other learning rate.
`draw_curves`: pass@1 and entropy on the same held-out prompts during training. `draw_costs`: pass@1 on the test
prompts against optimizer steps, sampled tokens and CPU seconds.
"""

import textwrap
from pathlib import Path
from typing import Any

from trl_real.figures.style import BLUE, LOOKS, new_figure

from .records import Record, best_learning_rate, chosen_records, distinct, select, t_interval


MARKS = ("v", "s", "^", "D", "P", "X", "<", ">")  # a learning rate each, from low to high
WIDTH, METHOD_HEIGHT = 7.5, 0.26  # inches
BELOW = dict(loc="outside lower center", frameon=False)


def draw_study(records: list[Record], title: str, path: Path) -> None:
    """Test pass@1 of every method: the chosen learning rate with its interval, the others as small hollow marks."""
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
        panel.set_xlabel("test pass@1; filled: the chosen learning rate, with its 95% interval; hollow: the others")
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


def draw(studies: dict[str, list[Record]], about: dict[str, dict[str, Any]], folder: Path) -> list[Path]:
    """Writes the figures that the studies of a plan ask for (`figures`); returns their files."""
    written = []
    for name, records in studies.items():
        title, wanted = textwrap.fill(about[name].get("title", name), 70), about[name].get("figures") or {}
        for kind, options in wanted.items():
            path = folder / f"{name}_{kind}.png"
            if kind == "curves":
                draw_curves(records, options, title, path)
            elif kind == "costs":
                draw_costs(records, title, path)
            else:
                draw_study(records, title, path)
            written.append(path)
    return written
