"""The picture of a run, from its log files alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


matplotlib_image = pytest.importorskip("matplotlib.image", reason="needs the extra `plots`")

from trl_real.figures import plot_training, read_log, smooth  # noqa: E402


def example_log(steps: int) -> list[dict[str, Any]]:
    """What a run of so many steps logs: rewards and groups at each fourth step, entropy at each, evaluations."""
    log: list[dict[str, Any]] = [{"step": 0, "eval_reward": 0.3}]
    for step in range(1, steps + 1):
        done = step / steps
        log.append({"step": step, "entropy": 2 - done})
        if step % 4 == 1:
            groups = {"groups/all_right": done / 2, "groups/mixed": 0.5, "groups/all_wrong": 0.5 - done / 2}
            log[-1] |= {"reward": 0.3 + done / 2, **groups}
        if step % 8 == 0:
            log.append({"step": step, "eval_reward": 0.3 + done / 2})
    return log + [{"step": steps, "train_loss": 1.0}]


BLUE, VERMILLION = (0, 114, 178), (213, 94, 0)


def shows(picture: Path, colour: tuple[int, int, int]) -> bool:
    pixels = (matplotlib_image.imread(picture)[..., :3] * 255).round()
    return bool((pixels == colour).all(axis=-1).any())


@pytest.mark.parametrize("steps", [16, 400])
def test_short_and_long_runs_give_a_picture_on_white_with_all_its_colours(tmp_path: Path, steps: int) -> None:
    picture = plot_training(example_log(steps), tmp_path / "run.png")
    assert matplotlib_image.imread(picture)[0, 0].tolist() == [1, 1, 1, 1]
    assert shows(picture, BLUE) and shows(picture, VERMILLION)


def test_a_log_without_groups_and_evaluations_still_gives_a_picture(tmp_path: Path) -> None:
    log = [{"step": 1, "reward": 0.5}, {"step": 2, "reward": None}]
    assert shows(plot_training(log, tmp_path / "run.png"), BLUE)
    assert not shows(plot_training([], tmp_path / "empty.png"), VERMILLION)


def test_the_log_is_read_from_a_file_a_folder_or_the_last_checkpoint(tmp_path: Path) -> None:
    for name, steps in (("checkpoint-8", 8), ("checkpoint-16", 16)):
        (tmp_path / name).mkdir()
        state = tmp_path / name / "trainer_state.json"
        state.write_text(json.dumps({"log_history": example_log(steps)}))
        os.utime(state, (steps, steps))
    assert read_log(tmp_path) == example_log(16)
    assert read_log(tmp_path / "checkpoint-8" / "trainer_state.json") == example_log(8)
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": example_log(20)}))
    assert read_log(tmp_path) == example_log(20)


def test_a_folder_without_a_log_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no trainer_state.json"):
        plot_training(tmp_path, tmp_path / "run.png")


def test_smoothing_keeps_a_constant_and_averages_noise() -> None:
    assert smooth([2.0] * 30, 10) == pytest.approx([2.0] * 30)
    assert smooth([0.0, 1.0], 10)[0] == 0.0
    assert smooth([0.0, 1.0] * 50, 10)[-1] == pytest.approx(0.5, abs=0.1)


def test_without_matplotlib_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from trl_real.figures import plot_training\n"
        "try:\n    plot_training([], 'x.png')\n"
        "except ImportError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "trl-real[plots]" in result.stdout
