"""
Sends histograms to the trackers that draw them: TensorBoard, Weights & Biases, Trackio.

In: the counts of `histograms` and the callbacks of a trainer. Out: a histogram for each under its name in the tracker.
Left out: numbers, which Transformers sends, and trackers that take numbers only.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from .histograms import SCORE_EDGES, WEIGHT_BINS


LIBRARIES = {WandbCallback: "wandb", TrackioCallback: "trackio"}
OUTERMOST = 10.0  # closes the open bins of scores, half a decade further


def bin_edges(name: str) -> np.ndarray:
    """Edges of the bins of a histogram, one more than there are counts; weights as a share of their bound 1/τ."""
    if name.startswith("scores/"):
        return np.array([-OUTERMOST, *SCORE_EDGES, OUTERMOST])
    return np.linspace(0, 1, WEIGHT_BINS + 1)


def send_histograms(callbacks: Iterable[Any], histograms: Mapping[str, Sequence[int]], step: int) -> None:
    """
    Sends the histograms of an optimizer step.

    Args:
        callbacks (`Iterable`):
            Of the trainer, on the process that logs; those of other kinds are passed over.
        histograms (`Mapping`):
            Counts by name; without any count nothing is sent.
        step (`int`):
            The optimizer step.
    """
    counted = {name: np.array(counts) for name, counts in histograms.items() if any(counts)}
    for callback in callbacks if counted else ():
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            for name, counts in counted.items():
                _to_tensorboard(callback.tb_writer, f"train/{name}", counts, bin_edges(name), step)
        for kind, module in LIBRARIES.items():
            if isinstance(callback, kind):
                _to_run(import_module(module), counted, step)


def _to_tensorboard(writer: Any, tag: str, counts: np.ndarray, edges: np.ndarray, step: int) -> None:
    middles = (edges[1:] + edges[:-1]) / 2
    writer.add_histogram_raw(
        tag,
        min=edges[:-1][counts > 0].min(),
        max=edges[1:][counts > 0].max(),
        num=counts.sum(),
        sum=(counts * middles).sum(),
        sum_squares=(counts * middles**2).sum(),
        bucket_limits=edges[1:].tolist(),
        bucket_counts=counts.tolist(),
        global_step=step,
    )


def _to_run(library: ModuleType, counted: Mapping[str, np.ndarray], step: int) -> None:
    """To the open run of a library; both have the same interface."""
    charts = {name: library.Histogram(np_histogram=(counts, bin_edges(name))) for name, counts in counted.items()}
    library.log({f"train/{name}": chart for name, chart in charts.items()} | {"train/global_step": step})
