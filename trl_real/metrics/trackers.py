"""Sends histograms to the trackers that draw them (Transformers sends the numbers)."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from .histograms import SCORE_EDGES, WEIGHT_BINS


LIBRARIES = {WandbCallback: "wandb", TrackioCallback: "trackio"}  # both have the same interface
OUTERMOST = 10.0  # closes the open bins of scores, half a decade further


def bin_edges(name: str) -> np.ndarray:
    """Edges of a histogram's bins, one more than there are counts; weights as a share of their bound 1/τ."""
    if name.startswith("scores/"):
        return np.array([-OUTERMOST, *SCORE_EDGES, OUTERMOST])
    return np.linspace(0, 1, WEIGHT_BINS + 1)


def send_histograms(callbacks: Iterable[Any], histograms: Mapping[str, Sequence[int]], step: int) -> None:
    """Sends the counts of an optimizer step through a trainer's callbacks; those without any count are left out."""
    counted = {name: np.array(counts) for name, counts in histograms.items() if any(counts)}
    for callback in callbacks if counted else ():
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            for name, counts in counted.items():
                _to_tensorboard(callback.tb_writer, f"train/{name}", counts, bin_edges(name), step)
        for kind, module in LIBRARIES.items():
            if isinstance(callback, kind):
                library = import_module(module)
                charts = {
                    f"train/{name}": library.Histogram(np_histogram=(counts, bin_edges(name)))
                    for name, counts in counted.items()
                }
                library.log(charts | {"train/global_step": step})


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
