"""What the terminal shows of a run: the time that is left knows that some steps sample, evaluation has a bar."""

import re
from pathlib import Path

import pytest

from tests.support.scripts import load_script, write_recipe
from trl_real.recipe.progress import TimeLeft


def test_steps_that_sample_are_counted_by_their_own_time() -> None:
    left = TimeLeft(period=4)
    left.add_step(1, 100.0)
    assert left.seconds(1, 9, 0) is None  # no other step has been seen
    left.add_step(2, 1.0)
    assert left.seconds(2, 9, 0) == 2 * 1 + 100 + 3 * 1 + 100  # steps 3, 4; 5; 6, 7, 8; 9
    assert left.seconds(8, 8, 0) == 0


def test_evaluations_that_are_to_come_are_counted_once_one_has_been_seen() -> None:
    left = TimeLeft(period=1)
    left.add_step(1, 2.0)
    assert left.seconds(1, 5, 2) == 8
    left.add_evaluation(10.0)
    assert left.seconds(1, 5, 2) == 28


def test_the_bars_of_training_and_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    recipe = write_recipe(tmp_path, save_strategy="no", per_device_eval_batch_size=8)
    load_script("train").main(["--config", str(recipe)])
    shown = capsys.readouterr().err
    assert "time left not known yet" in shown and re.search(r"about \d\d:\d\d left", shown)
    assert "evaluating" in shown and "evaluation, batches" in shown
