"""The table of completions has labels and weights, where TRL's has advantages that REAL does not use."""

import math
from pathlib import Path

import pandas as pd
import pytest

from tests.support.trainers import config, trainer
from trl_real.metrics.completions import LabelSymbol, SignedWeight


def test_a_label_shows_as_a_symbol_and_a_weight_with_its_sign() -> None:
    assert [str(LabelSymbol(value)) for value in (1.0, 0.0, math.nan)] == ["✓", "✗", "–"]
    assert [str(SignedWeight(value)) for value in (0.4, -2 / 3, 0.0)] == ["+0.40", "-0.67", "+0.00"]


def test_the_completions_table(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    trainer(tmp_path, args=config(tmp_path, log_completions=True, max_steps=1)).train()
    printed = capsys.readouterr().out
    assert "✓" in printed and "✗" in printed and "weight" in printed and "Advantage" not in printed
    table = pd.read_parquet(tmp_path / "run" / "completions" / "completions_00001.parquet")
    assert table["label"].dtype == table["weight"].dtype == float
    assert table["label"].tolist() == table["even_start"].tolist()
    for _, group in table.groupby("prompt"):
        correct, incorrect = (group["label"] == 1).sum(), (group["label"] == 0).sum()
        expected = {1: 2 / (1 + correct), 0: -2 / (1 + incorrect)} if correct and incorrect else {1: 0.0, 0: 0.0}
        assert group["weight"].tolist() == pytest.approx([expected[label] for label in group["label"]])
