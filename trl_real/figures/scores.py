"""Histograms of scores and weights: correct and incorrect rollouts over time, and both over the entire run."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from ..metrics.histograms import HISTOGRAMS, SCORE_EDGES, WEIGHT_BINS
from .run_log import Run
from .style import BLUE, VERMILLION, figure_title, new_figure


COLUMNS = 120  # more steps than this share columns
LABELS = (("positive", "Correct rollouts", BLUE, "-"), ("negative", "Incorrect rollouts", VERMILLION, "--"))
SHADES = LinearSegmentedColormap.from_list("shades", ["white", BLUE, "#001D2E"]).with_extremes(bad="0.93")


def plot_scores(run: Run, path: str | Path) -> None:
    """Writes the histograms of scores and weights of a run to `path`."""
    with new_figure(path, 9, 6, figure_title("Scores and weights", [run])) as figure:
        draw_scores(figure, run)


def draw_scores(figure: Figure, run: Run) -> None:
    """Draws the histograms of a run; `ValueError` if its log contains none."""
    if not run.logs(HISTOGRAMS[0]):
        raise ValueError(
            f"{run.name}: its log has no `{HISTOGRAMS[0]}`. REALTrainer logs it; GRPOTrainer has no scores."
        )
    grid = figure.subplots(2, 3, sharey="row", gridspec_kw=dict(width_ratios=[3, 3, 1.6]))
    for kind, row in zip(("scores", "weights"), grid, strict=True):
        for axes, (label, title, color, line) in zip(row, LABELS, strict=False):
            edges, shares, total = _columns(run, f"{kind}/{label}_histogram")
            norm = PowerNorm(0.5, vmin=0, vmax=1)  # the square root, so that thin tails show
            axes.pcolormesh(edges, range(len(shares) + 1), shares, cmap=SHADES, norm=norm)
            axes.grid(False)
            axes.set_title(f"{title}: {kind}")
            row[2].stairs(total, orientation="horizontal", color=color, linestyle=line, linewidth=1.8, label=title)
        row[2].set_title("entire run")
        row[2].set_xlim(left=0)
    _label_axes(grid)
    figure.legend(*grid[0][2].get_legend_handles_labels(), loc="outside lower right", ncols=2, frameon=False)
    bar = figure.colorbar(grid[0][0].collections[0], ax=grid, aspect=40, pad=0.01)
    bar.set_label("share of the rollouts of a column")


def _columns(run: Run, key: str) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Edges of the columns in steps, shares (bins, columns; NaN without rollouts), and shares (bins,) of the run."""
    steps, counts = run.series(key)
    starts = [0 if len(steps) == 1 else max(0, 2 * steps[0] - steps[1]), *steps[:-1]]
    together = -(-len(steps) // COLUMNS)
    if together > 1:  # complete generations, or columns would differ in their number of on-policy steps
        together += -together % _steps_per_generation(run)
    groups = [slice(first, first + together) for first in range(0, len(steps), together)]
    table = np.array([np.sum(counts[group], axis=0) for group in groups], dtype=float).T
    edges = [starts[group][0] for group in groups] + steps[-1:]
    totals = table.sum(axis=0)
    shares = np.divide(table, totals, out=np.full_like(table, np.nan), where=totals > 0)
    return edges, shares, table.sum(axis=1) / max(table.sum(), 1)


def _steps_per_generation(run: Run) -> int:
    """Log records per generation; rewards are logged with its first step."""
    rewards = set(run.series("reward")[0])
    indices = [index for index, step in enumerate(run.series(HISTOGRAMS[0])[0]) if step in rewards]
    return min((later - index for index, later in pairwise(indices)), default=1)


def _label_axes(grid: np.ndarray) -> None:
    scores, weights = grid
    middle = (len(SCORE_EDGES) + 1) / 2  # of the bin about 0
    decades = [index for index, edge in enumerate(SCORE_EDGES) if index % 2 == (edge < 0) and abs(edge) > 5e-4]
    names = [f"{SCORE_EDGES[index]:g}" for index in decades]
    scores[0].set_yticks([*(index + 1 for index in decades), middle], [*names, "0"])
    scores[0].set_ylabel("score $\\bar{s}$ (nats per token)")
    weights[0].set_yticks([WEIGHT_BINS * quarter / 4 for quarter in range(5)], ["0", "¼", "½", "¾", "1"])
    weights[0].set_ylabel("weight $|\\partial L/\\partial \\bar{s}|$  (1 is the bound $1/\\tau$)")
    for axes in weights[:2]:
        axes.set_xlabel("optimizer step")
    weights[2].set_xlabel("share of the rollouts")
