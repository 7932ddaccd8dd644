"""Scores on benchmarks in a model's training data are marked if the data is known."""

from pathlib import Path

import pytest

from trl_real.evaluation.results import Result, make_result
from trl_real.evaluation.tables import write_tables
from trl_real.evaluation.trained_on import find_training_data, known_overlap, write_note


DAPO = "BytedTsinghua-SIA/DAPO-Math-17k"


def test_training_data_is_noted_for_the_model_its_checkpoints_and_successors(tmp_path: Path) -> None:
    write_note(tmp_path / "run", DAPO, ["amc23"], "someone/base")
    for folder in ("run", "run/checkpoint-4", "run/merged"):
        (tmp_path / folder).mkdir(exist_ok=True)
        assert find_training_data(str(tmp_path / folder)) == [{"dataset_name": DAPO, "decontaminate": ["amc23"]}]
    # and for the model of a training that starts from this one
    write_note(tmp_path / "second", "own.jsonl", [], str(tmp_path / "run"))
    assert [each["dataset_name"] for each in find_training_data(str(tmp_path / "second"))] == ["own.jsonl", DAPO]


@pytest.mark.parametrize("named", [f"datasets: {DAPO}", f"datasets:\n- {DAPO}\n- other"])
def test_a_model_card_says_it_too(tmp_path: Path, named: str) -> None:
    (tmp_path / "README.md").write_text(f"---\nlicense: mit\n{named}\n---\n# A model\n")
    assert find_training_data(str(tmp_path))[0] == {"dataset_name": DAPO, "decontaminate": []}


def test_without_a_note_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_note(tmp_path, DAPO, [], "someone/base")  # of the current folder, which is not the model's
    for path in ("someone/model", str(tmp_path / "a" / "b")):
        assert find_training_data(path) == []


@pytest.mark.parametrize(
    ("name", "decontaminate", "benchmark", "count"),
    [
        (DAPO, [], "amc23", 24),
        ("data/dapo-math-17k.parquet", [], "olympiad", 38),
        ("agentica-org/DeepScaleR-Preview-Dataset", [], "math500", 11),
        (DAPO, [], "aime24", None),
        (DAPO, ["amc23", "math500"], "math500", None),
        ("own.jsonl", [], "amc23", None),
    ],
)
def test_overlaps_are_known_by_name(name: str, decontaminate: list[str], benchmark: str, count: int | None) -> None:
    found = known_overlap([{"dataset_name": name, "decontaminate": decontaminate}], benchmark)
    assert found == (None if count is None else (name, count))


def correct(model: str, name: str, title: str, training_data: list) -> Result:
    """One problem, answered correctly."""
    how = dict.fromkeys(("temperature", "top_p", "top_k", "max_new_tokens", "dtype", "backend"), 0)
    about = {"model": model, "set": name, "title": title, "judge": {"require_think": False}, "problems": "1+1"}
    verdict = {"correct": True, "answer": "2", "timeout": False, "tokens": 1, "truncated": False}
    return make_result(about | {"training_data": training_data, "sampling": how}, {(1, 1): verdict}, 1)


def test_the_tables_mark_a_score_on_problems_of_the_training_set_and_say_why(tmp_path: Path) -> None:
    trained = [{"dataset_name": DAPO, "decontaminate": []}]
    finished = [correct("base", "amc23", "AMC23", [])]
    finished += [correct("run", name, name.upper(), trained) for name in ("amc23", "aime24")]
    text = write_tables(finished, [], tmp_path, with_paper=False)
    [base, run] = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:4]]
    score = "1.000 [1.000, 1.000]"
    assert base[:3] == ["base", "–", score]
    assert run[:3] == ["run", score, f"{score} †"]
    [note] = [line for line in text.splitlines() if line.startswith("†")]
    assert note.startswith(f"† run was trained on {DAPO}, which contains at least 24 problems of AMC23")
