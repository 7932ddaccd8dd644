"""The rehearsal for a new machine in its small form, and its check of vLLM with a sleep that loses the weights."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripts import ROOT
from tests_vllm.launching import run
from trl_real.rehearsal.table import CHECKS


def test_the_rehearsal_finds_vllm_awake_with_the_weights_of_the_trained_model(tmp_path: Path) -> None:
    run(["-m", "trl_real.rehearsal", "vllm_sleep:check", str(tmp_path)], tmp_path, ENGINES_SLEEP="1")
    outcome = json.loads((tmp_path / "outcome.json").read_text("utf-8"))
    assert outcome["verdict"] == "ok", outcome["said"]
    assert outcome["numbers"]["largest"] < 1e-4 < outcome["numbers"]["moved"]


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What `trl-real doctor --gpu` prints and writes."""
    output = tmp_path_factory.mktemp("rehearsal") / "found.json"
    environment = os.environ | dict(PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="")
    command = [sys.executable, "-m", "trl_real", "doctor", "--gpu", "--minutes", "60", "--output", str(output)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout, json.loads(output.read_text("utf-8"))


def test_every_check_that_can_run_here_is_ok_and_the_others_say_why_not(rehearsed: tuple[str, dict]) -> None:
    printed, report = rehearsed
    rows = report["checks"]
    assert list(rows) == [check.name for check in CHECKS]
    lacking = {"packed = alone, FlashAttention": "it needs a GPU", "vLLM with sleep": "sleep needs a GPU"}
    assert {name: row["said"] for name, row in rows.items() if row["verdict"] == "not run"} == lacking
    assert all(row["verdict"] == "ok" for name, row in rows.items() if name not in lacking)
    assert all(f"{name} " in printed and row["said"] in printed for name, row in rows.items())


def test_the_report_has_what_was_measured(rehearsed: tuple[str, dict]) -> None:
    rows = rehearsed[1]["checks"]
    assert {"python", "torch", "trl"} <= rows["versions and devices"]["numbers"]["versions"].keys()
    assert rows["all_reduce"]["numbers"]["processes"] == 2
    assert rows["checkpoint and resume"]["numbers"]["identical"]
    assert rows["peak of memory"]["numbers"]["measured"]["peak"] > 50e6
