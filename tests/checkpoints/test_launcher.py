"""One of two processes is killed: the launcher ends the other one and says what happened."""

import time
from pathlib import Path

import pytest

from tests.support.scripts import python, write_recipe
from trl_real.checkpoints.folders import newest_complete


def test_when_one_process_is_killed_the_other_ends_and_the_message_says_how_to_go_on(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed", reason="needs the extra `deepspeed`")
    recipe = write_recipe(
        tmp_path,
        reward_funcs=["tests.support.scripts.kills_the_second_process"],
        deepspeed="recipes/accelerate/zero3.json",
        per_device_train_batch_size=8,
        eval_strategy="no",
        eval_on_start=False,
    )
    launch = ["-m", "trl_real", "train", "--multi_gpu", "--num_machines", "1", "--num_processes", "2"]
    run = python(*launch, "--config", str(recipe), DS_ACCELERATOR="cpu", KILLED=str(tmp_path / "killed"))
    seconds = time.time() - (tmp_path / "killed").stat().st_mtime
    assert run.returncode == 1
    assert seconds < 60  # 2 are usual
    assert run.stderr.strip().splitlines()[-1].startswith("error: process 1 was killed (SIGKILL; ")
    assert newest_complete(tmp_path / "out") == (tmp_path / "out" / "checkpoint-2", [])
