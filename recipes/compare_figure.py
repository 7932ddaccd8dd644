"""
The figure of a comparison, readable in print and on a dark page.

In: the records of every study. Out: a PNG file. First the curves of the first study, each method at the learning rate
chosen for it: pass@1 and entropy on held-out prompts during training. Then a panel for each study with test pass@1,
mean and 95% interval over seeds at the chosen learning rate, and a small mark for every other learning rate.
"""

from pathlib import Path
from typing import Any

from trl_real.comparison import Record, best_learning_rate, distinct, select, t_interval


# Okabe and Ito's palette without its yellow, which is too light on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":")
MARKS = ("v", "s", "^", "D", "P")  # a learning rate each, from low to high
COLUMNS = 2
WRAP = 60


def draw(studies: dict[str, list[Record]], titles: dict[str, str], path: Path) -> None:
    """Writes the figure; the first study also shows its curves."""
    from matplotlib.figure import Figure

    rows = 1 + -(-len(studies) // COLUMNS)
    heights = [1.2] + [0.4 + 0.15 * max(map(len, map(methods_of, studies.values())))] * (rows - 1)
    size = (5.5 * COLUMNS, 3.1 * sum(heights))
    figure = Figure(figsize=size, dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots(rows, COLUMNS, height_ratios=heights, squeeze=False).flatten()
    first = next(iter(studies.values()))
    draw_curves(axes[0], first, "pass", "Held-out pass@1 during training")
    draw_curves(axes[1], first, "entropy", "Held-out entropy during training (nats per token)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)), fontsize=8, frameon=False)
    for panel, (name, records) in zip(axes[COLUMNS:], studies.items(), strict=False):
        draw_study(panel, records, titles[name])
    for panel in axes[COLUMNS + len(studies) :]:
        panel.set_axis_off()
    figure.savefig(path, facecolor="white")


def methods_of(records: list[Record]) -> list[str]:
    """The methods of a study, in its order."""
    return distinct(records, "method")


def style(panel: Any, title: str) -> None:
    """What all panels share."""
    panel.set_title(title if len(title) <= WRAP else f"{title[: title.rfind(' ', 0, WRAP)]} …", fontsize=9)
    panel.grid(alpha=0.25)
    panel.tick_params(labelsize=8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def draw_curves(panel: Any, records: list[Record], curve: str, title: str) -> None:
    """The mean over seeds of a probe's curve for every method, at its chosen learning rate."""
    for index, method in enumerate(methods_of(records)):
        mine = select(records, method=method)
        chosen = select(mine, learning_rate=best_learning_rate(mine))
        steps = chosen[0]["probe"]["step"]
        means = [sum(each) / len(each) for each in zip(*(run["probe"][curve] for run in chosen), strict=True)]
        panel.plot(
            steps,
            means,
            color=COLOURS[index % len(COLOURS)],
            linestyle=DASHES[index // len(COLOURS) % len(DASHES)],
            linewidth=1.8,
            label=f"{method}, lr {chosen[0]['learning_rate']:g}",
        )
    panel.set_xlabel("optimizer step", fontsize=8)
    panel.set_ylim(bottom=0)
    style(panel, title)


def draw_study(panel: Any, records: list[Record], title: str) -> None:
    """Test pass@1 of every method: the chosen learning rate with its interval, the others as small marks."""
    methods, rates = methods_of(records), sorted(distinct(records, "learning_rate"))
    for row, method in enumerate(methods):
        mine = select(records, method=method)
        chosen = best_learning_rate(mine)
        for rate in distinct(mine, "learning_rate"):
            interval = t_interval([record["test"] for record in select(mine, learning_rate=rate)])
            mark = MARKS[rates.index(rate) % len(MARKS)]
            if rate == chosen:
                error = interval.half_width if interval.count > 1 else 0
                panel.errorbar(interval.mean, row, xerr=error, fmt=mark, color=COLOURS[0], capsize=3, markersize=6)
            else:
                panel.plot(interval.mean, row, mark, color="0.45", markersize=4, fillstyle="none")
    for rate, mark in zip(rates, MARKS, strict=False):
        panel.plot([], [], mark, color="0.3", markersize=5, label=f"lr {rate:g}")
    if len(rates) > 1:
        panel.legend(fontsize=7, frameon=False, loc="best")
    panel.set_yticks(range(len(methods)), methods)
    panel.set_ylim(len(methods) - 0.5, -0.5)
    panel.set_xlabel("test pass@1", fontsize=8)
    style(panel, title)
