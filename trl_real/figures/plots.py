"""
Each figure from the logs of runs to a file.

In: runs, or the options of Fig. 1, and the file. Out: a PNG, PDF or SVG file. Left out: the drawing, which is in the
other modules of this folder.
"""

from pathlib import Path

from .gradients import GradientOptions, draw_gradients
from .run_log import Run
from .scores import draw_scores
from .style import new_figure
from .training import draw_comparison, draw_training


def plot_gradients(path: str | Path, options: GradientOptions | None = None, title: str | None = None) -> None:
    """Writes Fig. 1 to `path`; the default options are the paper's."""
    with new_figure(path, 9, 4, title or "Gradient magnitude of GRPO and REAL") as figure:
        draw_gradients(figure, options or GradientOptions())


def plot_training(runs: list[Run], path: str | Path, title: str | None = None, eval_set: str | None = None) -> None:
    """Writes Fig. 4 of one run or several to `path`; `eval_set` names the evaluation set if there were several."""
    with new_figure(path, 9, 6, title or _title("Training", runs)) as figure:
        draw_training(figure, runs, eval_set)


def plot_comparison(runs: list[Run], path: str | Path, title: str | None = None, eval_set: str | None = None) -> None:
    """Writes Fig. 5 of several runs to `path`; `eval_set` names the evaluation set if there were several."""
    with new_figure(path, 9, 3.8, title or _title("Comparison", runs)) as figure:
        draw_comparison(figure, runs, eval_set)


def plot_scores(run: Run, path: str | Path, title: str | None = None) -> None:
    """Writes the histograms of scores and weights of a run to `path`."""
    with new_figure(path, 9, 6, title or _title("Scores and weights", [run])) as figure:
        draw_scores(figure, run)


def _title(what: str, runs: list[Run]) -> str:
    return f"{what}: {runs[0].name}" if len(runs) == 1 else what
