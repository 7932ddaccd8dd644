"""What the trainer resumes from, and what it logs about incomplete checkpoints."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer, TrainerCallback

from tests.support.tiny import fixed_reward, fixed_rollouts
from tests.support.trainers import config, trainer
from trl_real import REALTrainer
from trl_real.checkpoints.folders import ASIDE, missing_part


@pytest.fixture(scope="module")
def four_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with the checkpoints 2 and 4."""
    folder = tmp_path_factory.mktemp("run")
    build(folder, max_steps=4).train()
    return folder


def build(folder: Path, **options: Any) -> REALTrainer:
    defaults = dict(max_steps=6, save_strategy="steps", save_steps=2, lr_scheduler_type="constant")
    fixed = dict(reward_funcs=fixed_reward, rollout_func=fixed_rollouts())
    return trainer(folder, args=config(folder, **defaults | options), **fixed)


def copy(four_steps: Path, folder: Path, *broken: int) -> Path:
    """Another run in the same state, in which these checkpoints lack their state."""
    shutil.copytree(four_steps / "run", folder / "run")
    for step in broken:
        (folder / "run" / f"checkpoint-{step}" / "trainer_state.json").unlink()
    return folder / "run"


def first_step(trained: REALTrainer, resume: Any) -> int:
    steps = []

    class FirstStep(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            steps.append(state.global_step)

    trained.add_callback(FirstStep)
    trained.train(resume_from_checkpoint=resume)
    return steps[0]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    own = [record for record in caplog.records if record.name.startswith("trl_real.checkpoints")]
    return [record.getMessage().removeprefix("[RANK 0] ") for record in own]


def test_an_incomplete_checkpoint_is_refused_by_name_and_else_skipped(
    four_steps: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = copy(four_steps, tmp_path, 4)
    message = f"{run}/checkpoint-4 is incomplete .trainer_state.json is missing.. Write {run}/checkpoint-2, "
    with pytest.raises(ValueError, match=message):
        build(tmp_path).train(resume_from_checkpoint=f"{run}/checkpoint-4")
    with caplog.at_level(logging.WARNING):
        assert first_step(build(tmp_path), True) == 2
    assert said(caplog) == [
        f"{run}/checkpoint-4 is incomplete (trainer_state.json is missing). Training resumes from {run}/checkpoint-2."
    ]
    assert missing_part(run / "checkpoint-4") is None  # it was written again


def test_without_a_checkpoint_a_run_restarts(
    four_steps: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = copy(four_steps, tmp_path / "broken", 2, 4)
    with caplog.at_level(logging.WARNING):
        assert first_step(build(tmp_path / "broken", max_steps=1), True) == 0
        assert first_step(build(tmp_path / "empty", max_steps=1), True) == 0
    *broken, empty = said(caplog)
    lines = [f"{run}/checkpoint-{step} is incomplete (trainer_state.json is missing)" for step in (4, 2)]
    assert broken == [f"{line}. Training starts from scratch." for line in lines]
    assert empty == f"There is no checkpoint in {tmp_path}/empty/run. Training starts from scratch."


def test_an_interrupted_save_is_removed(four_steps: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = copy(four_steps, tmp_path)
    shutil.copytree(run / "checkpoint-4", run / ASIDE / "checkpoint-6")
    with caplog.at_level(logging.WARNING):
        build(tmp_path, max_steps=1, save_strategy="no").train()
    assert said(caplog) == [f"Saving {run}/checkpoint-6 was interrupted; the incomplete files are removed."]
    assert not (run / ASIDE).exists() and (run / "checkpoint-4").exists()


def test_resuming_a_finished_run_takes_no_step(four_steps: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy(four_steps, tmp_path) / "checkpoint-4")
    resumed = build(tmp_path, max_steps=2)
    assert first_step(resumed, True) == 2 and resumed.state.global_step == 2


def test_older_checkpoints_are_removed_beyond_the_limit(tmp_path: Path) -> None:
    build(tmp_path, max_steps=3, save_steps=1, save_total_limit=2).train()
    found = sorted(path.name for path in (tmp_path / "run").glob("*-*") if path.is_dir())
    assert found == ["checkpoint-2", "checkpoint-3"]


def test_a_checkpoint_is_pushed_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = []
    monkeypatch.setattr(
        Trainer, "_push_from_checkpoint", lambda _, path: pushed.append((Path(path), missing_part(Path(path))))
    )
    trained = build(tmp_path, max_steps=2)
    trained.args.push_to_hub = True
    trained.train()
    assert pushed == [(tmp_path / "run" / "checkpoint-2", None)]


def test_the_adaptive_entropy_controller_is_in_the_checkpoint(tmp_path: Path) -> None:
    build(tmp_path, max_steps=2, entropy_coef=0.1, use_adaptive_entropy=True).train()
    assert (tmp_path / "run" / "checkpoint-2" / "entropy_ctrl_state.json").exists()
