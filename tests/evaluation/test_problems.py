"""The questions of an evaluation: the paper's six benchmarks whole, others like them, and bad names and files."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.support.paper_data import write_dataset
from trl_real.evaluation.problems import BENCHMARKS, load_benchmark
from trl_real.evaluation.tables import COLUMNS, TABLES


INSTRUCTION = r" Let's think step by step and output the final answer within \boxed{}."


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    Dataset.from_list(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_complete_and_has_the_papers_prompt(name: str, tmp_path: Path) -> None:
    write_dataset(tmp_path, BENCHMARKS[name].file.removesuffix(".parquet"))
    problems = load_benchmark(name, tmp_path)
    assert len(problems.prompts) == len(problems.columns) == BENCHMARKS[name].rows
    assert all(len(prompt) == 1 and prompt[0]["content"].endswith(INSTRUCTION) for prompt in problems.prompts)
    assert all(columns["answer"] for columns in problems.columns)
    assert (problems.name, problems.title) == (name, BENCHMARKS[name].title)


def test_the_papers_rows_are_for_the_same_benchmarks() -> None:
    assert tuple(BENCHMARKS) == COLUMNS
    assert {len(row) for models in TABLES.values() for row in models.values()} == {7}


def test_a_custom_file_keeps_every_row_even_repeated_ones(tmp_path: Path) -> None:
    rows = [{"problem": "1 + 1?", "answer": "2"}] * 2 + [{"problem": "2?", "answer": "x"}]
    problems = load_benchmark(str(write(tmp_path / "own.parquet", rows)))
    assert (problems.name, problems.title) == ("own", "own")
    texts = [prompt[0]["content"] for prompt in problems.prompts]
    assert texts == ["1 + 1?" + INSTRUCTION] * 2 + ["2?" + INSTRUCTION]
    assert problems.columns == [{"answer": ["2"]}, {"answer": ["2"]}, {"answer": ["x"]}]
    assert problems.plain().prompts[2] == "2?" + INSTRUCTION


def test_bad_names_and_files_are_clear_errors(tmp_path: Path) -> None:
    write(tmp_path / "aime.parquet", [{"problem": "1?", "answer": "1"}])
    write(tmp_path / "open.parquet", [{"problem": "1?", "answer": "1"}, {"problem": "2?", "answer": None}])
    write(tmp_path / "other.parquet", [{"text": "1?"}])
    messages = {
        "aime_24": "benchmarks: aime_24 is none of aime24, .*Did you mean `aime24`",
        "nowhere.jsonl": "benchmarks: nowhere.jsonl is none of .* no file",
        "./no/where": "benchmarks: ./no/where is none of .* no file",
        f"{tmp_path}/open.parquet": "benchmarks: .*row 1 of .*open.parquet has no problem or no answer",
        f"{tmp_path}/other.parquet": "benchmarks: .*has the columns text, but no pair of columns",
        "aime24": "benchmarks: aime24 has 1 rows in .*aime.parquet; the paper's has 30",
        "aime25": "benchmarks: aime25: .*there is no file or folder .*aime25.parquet",
    }
    for name, message in messages.items():
        with pytest.raises(ValueError, match=message):
            load_benchmark(name, tmp_path)
