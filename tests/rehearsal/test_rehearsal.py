"""The rehearsal for a new machine: what goes wrong in a check is a row. All its checks are run in tests_vllm."""

from pathlib import Path

import pytest

from trl_real.cli import doctor
from trl_real.rehearsal.running import read_outcome, rehearse
from trl_real.rehearsal.table import Check


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
