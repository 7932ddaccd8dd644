"""
Facts about the paper's data sets: answers, repeated problems, and the number of words that problems share.

`facts.json` was computed from the authors' files and contains none of their text. Each problem is generated from its
row number; problems that overlap with a benchmark get one made-up word per word, so that shared runs stay as long.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from datasets import Dataset


FACTS = Path(__file__).parents[1] / "data" / "facts.json"
INSTRUCTION = r"Let's think step by step and output the final answer within \boxed{}."


@cache
def facts() -> dict[str, dict[str, Any]]:
    """By the name of the file: `answers` in order, the rows of each repeated problem, and the words of some rows."""
    return json.loads(FACTS.read_text("utf-8"))


def letters(number: str) -> str:
    """A word for a number; signs stay as they are."""
    return number.translate(str.maketrans("0123456789", "abcdefghij"))


def problem_texts(name: str) -> list[str]:
    """Problems of a data set; those that repeat another differ from it in spaces."""
    found = facts()[name]
    texts = [f"Problem {row} of {name}?" for row in range(len(found["answers"]))]
    for row, words in found["words"].items():
        texts[int(row)] = letters(words)
    for rows in found["repeated"]:
        for count, row in enumerate(rows):
            texts[row] = texts[rows[0]].replace(" ", " " * (count + 1))
    return texts


def rows_of(name: str) -> list[dict[str, Any]]:
    """In the columns of the authors' file."""
    pairs = zip(problem_texts(name), facts()[name]["answers"], strict=True)
    if name == "deepscaler-subset":
        return [{"problem": problem, "answer": answer, "solution": ""} for problem, answer in pairs]
    source = "math_dapo_boxed" if name == "dapo-math-17k" else ""
    return [
        {
            "data_source": source,
            "prompt": [{"role": "user", "content": f"{problem} {INSTRUCTION}"}],
            "reward_model": {"ground_truth": answer, "style": "rule"},
        }
        for problem, answer in pairs
    ]


def write_dataset(folder: Path, name: str) -> Path:
    """A file as the authors have it."""
    path = folder / f"{name}.parquet"
    Dataset.from_list(rows_of(name)).to_parquet(path)
    return path
