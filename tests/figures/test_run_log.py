"""What a run logged, read back from its files."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from trl_real.figures.run_log import Run, read_run


def write_state(folder: Path, log: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"log_history": log}))
    return path


def test_the_newest_state_of_a_folder_is_read_whether_the_run_ended_or_not(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name, time in (("checkpoint-8", 1), ("checkpoint-16", 2)):
        os.utime(write_state(run / name, [{"step": time}]), (time, time))
    assert read_run(run).log == [{"step": 2}]
    assert read_run(run / "checkpoint-8").log == [{"step": 1}]
    os.utime(write_state(run, [{"step": 3}]), (3, 3))
    assert read_run(run).log == read_run(run / "trainer_state.json").log == [{"step": 3}]
    os.utime(write_state(run / "checkpoint-24", [{"step": 4}]), (4, 4))  # it ended, went on and was killed
    assert read_run(run).log == [{"step": 4}]


def test_a_run_is_called_like_its_folder_or_as_one_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_state(tmp_path / "lr=1" / "checkpoint-8", [])
    monkeypatch.chdir(tmp_path / "lr=1")
    names = [".", tmp_path / "lr=1", tmp_path / "lr=1" / "checkpoint-8", f"slow={tmp_path}/lr=1"]
    assert [read_run(name).name for name in names] == ["lr=1", "lr=1", "lr=1", "slow"]


def test_of_a_step_that_was_logged_twice_the_later_value_counts() -> None:
    run = Run("resumed", [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0}, {"step": 2, "eval_loss": 1.0}])
    run.log.extend([{"step": 1, "loss": 3.0}, {"step": 4, "loss": None}, {"step": 3, "loss": 2.0}])
    assert run.series("loss") == ([1, 2, 3], [3.0, 4.0, 2.0])
    assert run.series("entropy") == ([], [])


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere", FileNotFoundError, "nowhere: there is no such file or folder"),
        ("name=nowhere", FileNotFoundError, "^nowhere: there is no such file"),
        ("empty", FileNotFoundError, "contains no trainer_state.json"),
        ("broken.json", ValueError, "broken.json is not the trainer_state.json of a run"),
        ("config.json", ValueError, "config.json is not the trainer_state.json of a run: KeyError"),
        ("list.json", ValueError, "list.json is not the trainer_state.json of a run: TypeError"),
    ],
)
def test_a_path_without_a_log_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken.json").write_text('{"log_history": [')
    Path("config.json").write_text("{}")
    Path("list.json").write_text("[]")
    with pytest.raises(error, match=message):
        read_run(source)
