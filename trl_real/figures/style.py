"""
The look that all figures share: on opaque white, so that they read in print and on dark pages; lines told apart by
colour, dash and marker.

In: a file to write. Out: an empty figure to draw into, written at the end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure


# Okabe and Ito's palette: told apart by colour-blind readers, and by brightness in a black-and-white print
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
SETTINGS = {
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
    """
    A figure to draw into; written when the block ends without an error.

    Args:
        path (`str` or `Path`):
            File to write; its suffix decides the format.
        width, height (`float`):
            Size in inches.
        title (`str`):
            Title above all panels.

    Raises:
        `ValueError`: If the suffix is none of `SUFFIXES`, or the folder does not exist.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f"output: {path} must end in one of {', '.join(SUFFIXES)}.")
    if not Path(path).parent.is_dir():
        raise ValueError(f"output: there is no folder {Path(path).parent}; create it, or write to another folder.")
    with rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
        figure.suptitle(title)
        yield figure
        figure.savefig(path)


def say_missing(axes: Axes, names: list[str]) -> None:
    """Names in a corner of a panel the runs that have no line in it; without names, in its middle that all lack it."""
    if names:
        place = dict(x=0.02, y=0.97, s=f"not logged: {', '.join(names)}", ha="left", va="top", fontsize=8)
    else:
        place = dict(x=0.5, y=0.5, s="not logged", ha="center", va="center")
    axes.text(**place, transform=axes.transAxes, color="0.4")
