"""The programs in benchmarks/ run, and what they report is what they were asked for."""

import importlib
import itertools
import json
import sys
from collections.abc import Callable

import pytest

from docs.tools.measured import read_rows
from tests.support.scripts import ROOT, python


TINY = "--hidden 32 --layers 1 --longest 24 --prompt 4 --rollouts 16 --group 4 --batch 4 --generations 1".split()


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., list[list[str]]]:
    """Runs a program with arguments; the rows of the table that it prints, without the head."""

    def run(name: str, *arguments: str) -> list[list[str]]:
        monkeypatch.syspath_prepend(ROOT / "benchmarks")
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        for variable in ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
            monkeypatch.setenv(variable, "")  # restored afterwards
        importlib.import_module(name).main()
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]

    return run


def test_the_update_phase_is_compared_on_the_same_rollouts(run, tmp_path):
    rows = run("update_phase", *TINY, "--mixes", "worst", "--output", str(tmp_path / "numbers.json"))
    assert [row[:3] for row in rows] == [["worst", "0% / 0% / 100%", steps] for steps in ("4", "1")]
    four, one = json.loads((tmp_path / "numbers.json").read_text())
    # 16 rollouts of 28 tokens; with 4 optimizer steps, GRPO needs old log-probabilities of all, REAL of three in four
    assert four["tokens"]["GRPO"] == [448, 448]
    assert four["tokens"]["REAL"][0] == one["tokens"]["REAL"][0] == one["tokens"]["GRPO"][0] == 448
    assert 336 <= four["tokens"]["REAL"][1] < 336 + 20 * 28 / 2  # and the trials on 20 rows, once in two generations
    # The limit computes 3 of the 4 tokens of a prompt once for the 4 rollouts of each of 4 and of 3 groups
    assert four["tokens"]["limit"] == (448 - 4 * 9) + (336 - 3 * 9) and one["tokens"]["limit"] == 448 - 4 * 9
    assert {len(seconds) for seconds in four["seconds"].values()} == {1}


@pytest.mark.parametrize(("rollouts", "micro_steps"), [("24", "6"), ("18", "4.5")])
def test_a_generation_that_optimizer_steps_cannot_share_is_refused(run, rollouts, micro_steps):
    message = f"4 optimizer steps cannot share {micro_steps} micro-steps. Make --rollouts a multiple of 16"
    with pytest.raises(ValueError, match=message):
        run("update_phase", *TINY, "--rollouts", rollouts, "--mixes", "worst")


def test_the_peak_of_memory_is_that_of_both_trainers(run, tmp_path):
    output = tmp_path / "numbers.json"
    memory = ["--memory", "true", "--mixes", "late", "--steps", "4", "--output", str(output)]
    rows = run("update_phase", *TINY, *memory)
    assert rows[0][:3] == ["late", "50% / 0% / 50%", "4"]
    assert all(peak > 0 for peak in json.loads(output.read_text())[0]["peak_bytes"].values())


def test_the_estimates_of_recorded_peaks_are_those_of_the_docs(run):
    rows = run("memory", "--read", str(ROOT / "docs/results/performance/memory_estimates.json"))
    assert len(rows) == 36 and rows == [list(row.values()) for row in read_rows("memory_estimates", [])]


def test_plans_of_ten_thousand_rollouts_are_quick_and_even(run):
    rows = run("overhead")
    assert len(rows) == 18
    for processes, _, layout, seconds, padding, slowest, _ in rows:
        assert float(seconds) < 1.0  # 0.2 on a machine that does nothing else
        assert float(slowest) < (1.05 if layout == "packed" else 1.25), processes
        assert float(padding.rstrip("%")) < (0.1 if layout == "packed" else 25)


def test_rollouts_move_between_two_processes():
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    process = python(*launch, "benchmarks/overhead.py", "--rollouts", "128", CUDA_VISIBLE_DEVICES="")
    assert process.returncode == 0, process.stderr[-4000:]
    [row] = [line.split(" | ") for line in process.stdout.splitlines() if line.startswith("| 2 | 128 | ")]
    assert 0 < int(row[2]) < 128


@pytest.fixture
def ticks(monkeypatch) -> None:
    """A clock that goes on by one whenever it is looked at."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    clock = itertools.count()
    for name in ("measure", "phases"):
        monkeypatch.setattr(importlib.import_module(name), "now", lambda: next(clock))


def test_the_phases_of_both_trainers_add_up_to_a_step_on_the_same_prompts(ticks, run, monkeypatch):
    module, seen = importlib.import_module("whole_step"), []
    compare = module.compare
    monkeypatch.setattr(module, "compare", lambda *asked: seen.append(compare(*asked)) or seen[-1])
    rows = run("whole_step", *TINY, "--vocabulary", "60", "--mix", "early")
    [(steps, seconds)] = seen
    grpo, real = (each.rewards.prompts for each in steps.values())
    assert len(grpo) == 2 and grpo == real and all(len(set(prompts)) == 4 for prompts in grpo)
    for measured in seconds.values():
        assert all(measured.values()), measured
        # whole ticks: nothing is counted twice, and nothing is left out
        assert sum(measured.values()) == 2 * measured["step"]
    assert [row[0] for row in rows] == [*module.PHASES, "step", "REAL / GRPO"]
    assert [float(row[3]) for row in rows[:-1]] == list(seconds["REAL"].values())
    assert rows[-1][3] == f"{seconds['REAL']['step'] / seconds['GRPO']['step']:.2f}"
