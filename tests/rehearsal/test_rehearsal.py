"""The rehearsal for a new machine, in its small form: it runs here, and what goes wrong in a check is a row."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from torch.utils.cpp_extension import get_default_build_root

from tests.support.scripts import ROOT
from trl_real.cli import doctor
from trl_real.rehearsal.running import read_outcome, rehearse
from trl_real.rehearsal.table import CHECKS, Check


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What `trl-real doctor --gpu` prints and writes; DeepSpeed's operator is the one that other tests compiled."""
    output = tmp_path_factory.mktemp("rehearsal") / "found.json"
    operators = Path(get_default_build_root()) / f"py{sys.version_info.major}{sys.version_info.minor}_cpu"
    environment = os.environ | dict(PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="", TORCH_EXTENSIONS_DIR=str(operators))
    command = [sys.executable, "-m", "trl_real", "doctor", "--gpu", "--minutes", "60", "--output", str(output)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout, json.loads(output.read_text("utf-8"))


def test_every_check_that_can_run_here_is_ok_and_the_others_say_why_not(run: tuple[str, dict]) -> None:
    printed, report = run
    rows = report["checks"]
    assert list(rows) == [check.name for check in CHECKS]
    lacking = {"packed = alone, FlashAttention": "it needs a GPU", "vLLM with sleep": "sleep needs a GPU"}
    if find_spec("deepspeed") is None:
        lacking["ZeRO-3"] = "DeepSpeed is not installed (pip install 'trl-real[deepspeed]')"
    assert {name: row["said"] for name, row in rows.items() if row["verdict"] == "not run"} == lacking
    assert all(row["verdict"] == "ok" for name, row in rows.items() if name not in lacking)
    assert all(f"{name} " in printed and row["said"] in printed for name, row in rows.items())


def test_the_report_has_what_was_measured(run: tuple[str, dict]) -> None:
    rows = run[1]["checks"]
    assert {"python", "torch", "trl"} <= rows["versions and devices"]["numbers"]["versions"].keys()
    assert rows["all_reduce"]["numbers"]["processes"] == 2
    assert rows["checkpoint and resume"]["numbers"]["identical"]
    assert rows["peak of memory"]["numbers"]["measured"]["peak"] > 50e6


def test_a_check_that_cannot_be_imported_or_takes_too_long_is_a_row_and_not_the_end() -> None:
    checks = [
        Check("missing", "nowhere:check", 600),
        Check("slow", "matmul:check", 0),
        Check("late", "matmul:check", 1),
    ]
    found = [outcome for _, outcome in rehearse(10, checks[:2])]
    assert [outcome.verdict for outcome in found] == ["failed", "failed"]
    assert found[0].said.startswith("ModuleNotFoundError: No module named") and "Traceback" in "\n".join(found[0].log)
    assert found[1].said == "not over after 0 seconds"
    [(_, late)] = rehearse(0, checks[2:])
    assert (late.verdict, late.said) == ("not run", "the 0 minutes for all checks were over")


def test_a_crash_is_a_failure_even_after_the_last_line_of_a_check(tmp_path: Path) -> None:
    assert read_outcome(tmp_path, -11, 60).said == "killed by SIGSEGV"
    (tmp_path / "outcome.json").write_text('{"verdict": "ok", "said": "fine"}')
    assert read_outcome(tmp_path, 0, 60).verdict == "ok"
    assert read_outcome(tmp_path, -11, 60).verdict == "failed"


def test_the_command_ends_with_an_error_that_names_what_failed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="failed: versions and devices"):
        doctor.main(["--gpu", "--minutes", "0.00001", "--output", str(tmp_path / "found.json")])
