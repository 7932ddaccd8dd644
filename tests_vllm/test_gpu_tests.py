"""The tests for a machine with GPUs run in their small form, so that nobody finds them broken on the day of a GPU."""

import json
from pathlib import Path

from tests_vllm.launching import run


def test_the_tests_for_gpus_pass_in_their_small_form_and_report_what_they_measure(tmp_path: Path) -> None:
    words = ["-m", "pytest", "tests_gpu", "-k", "not zero3", "-p", "no:cacheprovider"]  # tests/trainer has ZeRO-3
    run(words, tmp_path, GPU_TESTS_ON_CPU="1", GPU_REPORT=str(tmp_path / "report.json"))
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert {"torch", "trl"} <= report["packages"].keys() and report["environment"]
    rows = {name.partition("::")[2]: row for name, row in report["tests"].items()}
    skipped = [row["said"] for row in rows.values() if row["outcome"] == "skipped"]
    assert len(skipped) == 2 and all("needs a GPU and " in said for said in skipped)
    assert all(row["outcome"] in ("passed", "skipped") for row in rows.values())
    assert rows["test_the_sum_over_all_gpus_is_exact"]["sum"]["processes"] == 2
    assert rows["test_a_resumed_training_ends_as_the_uninterrupted_one"]["share of the way"] == 0
    assert rows["test_the_dry_run_estimates_the_peak_of_memory"]["measured"]["peak"] > 50e6
