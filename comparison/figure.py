"""
The figure of a comparison, readable in print and on a dark page.

In: the records of every study. Out: a PNG file. First the curves of the first study, each method at the learning rate
chosen for it: pass@1 and entropy on held-out prompts during training. Then a panel for each study with test pass@1,
mean and 95% interval over seeds at the chosen learning rate, and a small mark for every other learning rate.
"""

import textwrap
from pathlib import Path
from typing import Any

from trl_real.figures.style import LOOKS

from .records import Record, best_learning_rate, distinct, select, t_interval


COLOURS = [look["color"] for look in LOOKS]
DASHES = ("-", "--", ":")
MARKS = ("v", "s", "^", "D", "P", "X")  # a learning rate each, from low to high
COLUMNS = 2
WIDTH, CURVE_HEIGHT, TITLE_HEIGHT, METHOD_HEIGHT = 10.0, 3.0, 0.75, 0.22  # inches


def draw(studies: dict[str, list[Record]], titles: dict[str, str], path: Path) -> None:
    """Writes the figure; the first study also shows its curves."""
    from matplotlib.figure import Figure

    names = list(studies)
    longest = [
        max(len(distinct(studies[name], "method")) for name in names[start : start + COLUMNS])
        for start in range(0, len(names), COLUMNS)
    ]
    heights = [CURVE_HEIGHT, *(TITLE_HEIGHT + METHOD_HEIGHT * methods for methods in longest)]
    figure = Figure(figsize=(WIDTH, 1 + sum(heights)), dpi=80, facecolor="white", layout="constrained")
    axes = figure.subplots(len(heights), COLUMNS, height_ratios=heights, squeeze=False).flatten()
    draw_curves(axes[0], studies[names[0]], "pass", "Held-out pass@1 during training")
    draw_curves(axes[1], studies[names[0]], "entropy", "Held-out entropy during training (nats per token)")
    add_legend(figure, *axes[0].get_legend_handles_labels(), "outside upper center")
    everything = [record for records in studies.values() for record in records]
    rates = sorted(distinct(everything, "learning_rate"))
    marks = {rate: MARKS[index % len(MARKS)] for index, rate in enumerate(rates)}
    passes = [record["test"] for record in everything]
    for panel, name in zip(axes[COLUMNS:], names, strict=False):
        draw_study(panel, studies[name], titles[name], marks)
        panel.set_xlim(min(passes) - 0.02, max(passes) + 0.05)
    for panel in axes[COLUMNS + len(studies) :]:
        panel.set_axis_off()
    samples = [axes[COLUMNS].plot([], [], mark, color="0.3", markersize=5)[0] for mark in marks.values()]
    add_legend(figure, samples, [f"lr {rate:g}" for rate in rates], "outside lower center")
    figure.savefig(path, facecolor="white")


def add_legend(figure: Any, handles: list[Any], labels: list[str], place: str) -> None:
    """One legend for several panels."""
    figure.legend(handles, labels, loc=place, ncols=min(4, len(labels)), fontsize=8, frameon=False)


def style(panel: Any, title: str) -> None:
    """What all panels share."""
    panel.set_title(textwrap.fill(title, 42), fontsize=9)
    panel.grid(alpha=0.25)
    panel.tick_params(labelsize=8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def draw_curves(panel: Any, records: list[Record], curve: str, title: str) -> None:
    """The mean over seeds of a probe's curve for every method, at its chosen learning rate."""
    for index, method in enumerate(distinct(records, "method")):
        mine = select(records, method=method)
        chosen = select(mine, learning_rate=best_learning_rate(mine))
        means = [sum(each) / len(each) for each in zip(*(run["probe"][curve] for run in chosen), strict=True)]
        panel.plot(
            chosen[0]["probe"]["step"],
            means,
            color=COLOURS[index % len(COLOURS)],
            linestyle=DASHES[index // len(COLOURS) % len(DASHES)],
            linewidth=1.8,
            label=f"{method}, lr {chosen[0]['learning_rate']:g}",
        )
    panel.set_xlabel("optimizer step", fontsize=8)
    panel.set_ylim(bottom=0)
    style(panel, title)


def draw_study(panel: Any, records: list[Record], title: str, marks: dict[float, str]) -> None:
    """Test pass@1 of every method: the chosen learning rate with its interval, the others as small marks."""
    methods = distinct(records, "method")
    for row, method in enumerate(methods):
        mine = select(records, method=method)
        chosen = best_learning_rate(mine)
        for rate in distinct(mine, "learning_rate"):
            interval = t_interval([record["test"] for record in select(mine, learning_rate=rate)])
            if rate != chosen:
                panel.plot(interval.mean, row, marks[rate], color="0.45", markersize=4, fillstyle="none")
                continue
            error = interval.half_width if interval.count > 1 else 0
            panel.errorbar(interval.mean, row, xerr=error, fmt=marks[rate], color=COLOURS[0], capsize=3, markersize=6)
    panel.set_yticks(range(len(methods)), methods)
    panel.set_ylim(len(methods) - 0.5, -0.5)
    panel.set_xlabel("test pass@1", fontsize=8)
    style(panel, title)
