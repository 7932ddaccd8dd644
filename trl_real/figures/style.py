"""The style of all figures: opaque white, for print and dark pages; lines differ in color, dash and marker."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from .run_log import Run


# Okabe and Ito's palette: distinct for color-blind readers, and in brightness for black-and-white print
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, PALE = "#E69F00", "#56B4E9", "#000000", "#E4E4E4"
LOOKS: list[dict[str, Any]] = [
    dict(color=BLUE, linestyle="-", marker="o"),
    dict(color=VERMILLION, linestyle="--", marker="s"),
    dict(color=GREEN, linestyle="-.", marker="^"),
    dict(color=PURPLE, linestyle=":", marker="D"),
    dict(color=ORANGE, linestyle=(0, (7, 2)), marker="v"),
    dict(color=SKY, linestyle=(0, (3, 1, 1, 1)), marker="P"),
    dict(color=BLACK, linestyle=(0, (1, 1)), marker="X"),
]
SUFFIXES = (".png", ".pdf", ".svg")
SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.handlelength": 3,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.25,
    "lines.markersize": 4,
    "savefig.facecolor": "white",
    "savefig.dpi": 150,
}


@contextmanager
def new_figure(path: str | Path, width: float, height: float, title: str) -> Iterator[Figure]:
    """A figure to draw into, in inches; written to a PNG, PDF or SVG file when the block ends without an error."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f"output: {path} must end in one of {', '.join(SUFFIXES)}.")
    if not Path(path).parent.is_dir():
        raise ValueError(f"output: there is no folder {Path(path).parent}; create it, or write to another folder.")
    with rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        figure.suptitle(title)
        yield figure
        figure.savefig(path)


def figure_title(what: str, runs: list[Run]) -> str:
    """What is drawn, and of which run if there is only one."""
    return f"{what}: {runs[0].name}" if len(runs) == 1 else what


def note_missing(axes: Axes, names: list[str]) -> None:
    """Names, in a corner of a panel, the runs without a line in it; without names, notes that every run lacks it."""
    style: dict[str, Any] = dict(transform=axes.transAxes, color="0.4")
    if names:
        axes.text(0.02, 0.97, f"not logged: {', '.join(names)}", ha="left", va="top", fontsize=8, **style)
    else:
        axes.text(0.5, 0.5, "not logged", ha="center", va="center", **style)
