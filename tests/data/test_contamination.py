"""Problems of the benchmarks in training sets: which are the same problem, what is removed, and what is listed."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.support.paper_data import facts, write_dataset
from trl_real.cli.data import main
from trl_real.data.benchmarks import BENCHMARKS
from trl_real.data.contamination import KNOWN, find_overlaps, read_problems
from trl_real.data.layouts import read_math
from trl_real.data.mathematics import load_math


# problems of each benchmark that are in the file, and those of them with the same answer: docs/contamination.md
FOUND = {
    "dapo-math-17k": {"math500": (12, 9), "amc23": (24, 23), "olympiad": (38, 16)},
    "deepscaler-subset": {"math500": (11, 7), "olympiad": (2, 2)},
}
SEQUENCE = r"Let $a_{1}, a_{2}, \ldots$ be a sequence with $a_{1} = 3$ and $a_{n+1} = 2a_{n} - 1$. Compute $a_{10}$."


def write(path: Path, *rows: tuple[str, Any]) -> str:
    Dataset.from_list([{"problem": problem, "answer": answer} for problem, answer in rows]).to_parquet(path)
    return str(path)


def score(folder: Path, problem: str, other: str) -> float:
    """The likeness of two problems; 0 where they are not alike."""
    rows = read_math(write(folder / "rows.parquet", (problem, "1")))
    overlaps = find_overlaps(rows, read_problems([write(folder / "other.parquet", (other, "1"))]), verify=False)
    return overlaps[0].score if overlaps else 0.0


@pytest.mark.parametrize(
    ("problem", "other", "likeness"),
    [
        (SEQUENCE, SEQUENCE, 1),
        (SEQUENCE, SEQUENCE.replace(" ", "  "), 1),
        (SEQUENCE, SEQUENCE.upper().replace(r"\LDOTS", r"\ldots"), 1),
        (SEQUENCE, SEQUENCE.replace("{1}", "1").replace("{2}", "2").replace("$", ""), 1),
        (SEQUENCE, SEQUENCE.replace(r"\ldots", r"\cdots"), 1),
        (SEQUENCE, SEQUENCE.replace("$a_{10}$", r"$\left(a_{10}\right)$"), 1),
        ("Find ab.", "Find a b.", 1),
        (SEQUENCE, SEQUENCE.replace("Let", "Consider"), pytest.approx(0.9, abs=0.0999)),
        ("Compute $2 + 3$.", "Compute $2 - 3$.", 0),
        (r"Compute $\sin 60$.", r"Compute $\cos 60$.", 0),
        ("What is it?", "What is this?", 0),
        (SEQUENCE, "Let $x$ be a sequence. Compute $x_{10}$.", 0),
        ("?", "!", 0),
    ],
)
def test_problems_are_alike_in_any_spelling(tmp_path: Path, problem: str, other: str, likeness: float) -> None:
    assert score(tmp_path, problem, other) == likeness


def test_the_evaluation_knows_what_is_counted_here() -> None:
    counted = [{name: found for name, (found, _) in benchmarks.items()} for benchmarks in FOUND.values()]
    assert list(KNOWN.values()) == counted
    assert all(any(known in name for name in FOUND) for known in KNOWN)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's data sets, with the words that problems share."""
    folder = tmp_path_factory.mktemp("sets")
    for name in facts():
        write_dataset(folder, name)
    return folder


@pytest.mark.parametrize("name", FOUND)
def test_training_sets_have_the_documented_benchmark_problems(name: str, sets: Path) -> None:
    overlaps = find_overlaps(read_math(str(sets / f"{name}.parquet")), read_problems(list(BENCHMARKS), sets))
    found = {}
    for name_of_set in BENCHMARKS:
        here = [overlap for overlap in overlaps if overlap.problem.benchmark == name_of_set]
        same = [overlap for overlap in here if overlap.agree]
        found[name_of_set] = tuple(len({overlap.problem.row for overlap in part}) for part in (here, same))
    assert {benchmark: numbers for benchmark, numbers in found.items() if numbers[0]} == FOUND[name]


def test_contaminated_rows_are_removed_with_the_score_and_whether_the_answers_agree(tmp_path: Path) -> None:
    benchmark = write(tmp_path / "exam.parquet", (SEQUENCE, "1025"), ("How much is one and one?", "2"))
    other = SEQUENCE.replace("Let", "Consider")
    name = write(tmp_path / "rows.parquet", ("What is it?", "7"), (other, r"\frac{2050}{2}"), (SEQUENCE, "-1"))
    rows, report = load_math(name, decontaminate=[benchmark])
    assert [row["answer"] for row in rows] == [["7"]]
    removed = [(entry["row"], entry["reason"], entry["answers_agree"]) for entry in report.removed]
    assert removed == [(1, "contaminated", True), (2, "contaminated", False)]
    assert [entry["score"] for entry in report.removed] == [pytest.approx(0.92, abs=0.04), 1]
    assert report.removed[0]["benchmark"] == benchmark and report.removed[0]["benchmark_row"] == 0
    assert f"the problem is in a benchmark ({benchmark})" in report.summary()


def test_by_default_nothing_is_compared_and_the_summary_says_so(tmp_path: Path) -> None:
    rows, report = load_math(write(tmp_path / "rows.parquet", (SEQUENCE, "1025")))
    assert (len(rows), report.counts["contaminated"]) == (1, 0)
    assert "not compared: decontaminate is not set" in report.summary()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["amc_23"], "decontaminate: amc_23 is none of aime24, .*Did you mean `amc23`"),
        ("amc23", r"decontaminate: 'amc23' is a text; write a list, such as \[amc23\]"),
    ],
)
def test_an_unknown_benchmark_is_refused_before_rows_are_read(names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_math("missing.parquet", decontaminate=names)


def test_the_command_lists_every_pair_and_writes_the_texts(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    benchmark = write(tmp_path / "exam.parquet", (SEQUENCE, "1025"), ("How much is one and one?", "2"))
    name = write(tmp_path / "rows.parquet", ("What is it?", "7"), (SEQUENCE, "1025"), (SEQUENCE, "3"))
    main(["check", name, "--benchmarks", benchmark, "--output", str(tmp_path / "made" / "found.jsonl")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{name}: 2 of 3 rows are in a benchmark"
    assert lines[2].split() == [benchmark, "2", "1", "1", "2"]
    assert [line.split()[1] for line in lines[3:]] == ["1", "2"]
    assert "same answer" in lines[3] and "other answer" in lines[4]
    written = [json.loads(line) for line in (tmp_path / "made" / "found.jsonl").read_text("utf-8").splitlines()]
    found = [(entry["data"], entry["row"], entry["benchmark_answer"]) for entry in written]
    assert found == [(name, row, ["1025"]) for row in (1, 2)]
