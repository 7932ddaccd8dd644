"""Trackers that draw histograms get those of scores and weights, through their own interfaces, without a network."""

import importlib.util
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.scripts import python
from tests.support.trainers import config, logged, trainer
from trl_real import REALTrainer
from trl_real.metrics.histograms import HISTOGRAMS, SCORE_EDGES, WEIGHT_BINS, count_bins
from trl_real.metrics.trackers import bin_edges


def run(folder: Path, tracker: str) -> REALTrainer:
    made = trainer(folder, args=config(folder, report_to=[tracker], project="tests", run_name="one"))
    made.train()
    return made


def test_the_edges_close_the_bins_that_are_counted() -> None:
    scores, weights = torch.tensor([-5.0, 0.002, 0.0, 1.0]), torch.tensor([2.0, 0.1, 0.5, 1.99])
    counts = count_bins(scores, torch.ones(4), weights, tau=0.5)
    for name, values in (("scores/positive_histogram", scores), ("weights/positive_histogram", weights / 2)):
        expected, _ = np.histogram(values.numpy(), bins=bin_edges(name))
        assert counts[name].tolist() == expected.tolist()
    assert len(bin_edges("scores/x")) == len(SCORE_EDGES) + 2 and len(bin_edges("weights/x")) == WEIGHT_BINS + 1


def test_tensorboard_gets_the_counts_of_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    made = run(tmp_path, "tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "board"), size_guidance={accumulator.HISTOGRAMS: 0})
    events.Reload()
    assert set(events.Tags()["histograms"]) == {f"train/{name}" for name in HISTOGRAMS}
    for name in HISTOGRAMS:
        found = {each.step: sum(each.histogram_value.bucket) for each in events.Histograms(f"train/{name}")}
        logs = {entry["step"]: sum(entry[name]) for entry in made.state.log_history if name in entry}
        assert found == {step: count for step, count in logs.items() if count} and found


def test_wandb_gets_histograms_with_the_edges_of_the_bins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="needs wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    made = run(tmp_path, "wandb")
    summary = dict(wandb.run.summary)
    wandb.finish()
    for name in HISTOGRAMS:
        last = [counts for counts in logged(made, name) if any(counts)][-1]
        assert list(summary[f"train/{name}"]["values"]) == last
        assert list(summary[f"train/{name}"]["bins"]) == pytest.approx(bin_edges(name).tolist())


def test_trackio_gets_histograms(tmp_path: Path) -> None:
    if importlib.util.find_spec("trackio") is None or importlib.util.find_spec("trackio.histogram") is None:
        pytest.skip("needs a trackio with histograms")
    start = f"from tests.metrics.test_trackers import *; run(Path({str(tmp_path)!r}), 'trackio')"
    # Its folder is decided when it is imported
    done = python("-c", start, cwd=tmp_path, TRACKIO_DIR=str(tmp_path / "trackio"))
    assert done.returncode == 0, done.stderr[-4000:]
    [path] = (tmp_path / "trackio").glob("tests*.db")
    with sqlite3.connect(path) as database:
        rows = [json.loads(row) for (row,) in database.execute("select metrics from metrics")]
    sent = [row[f"train/{HISTOGRAMS[0]}"] for row in rows if f"train/{HISTOGRAMS[0]}" in row]
    assert sent and all(each["_type"] == "trackio.histogram" for each in sent)
