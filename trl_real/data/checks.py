"""
What every row of a data set must have, and the cause that an error of reading hides.

In: a data set, or an error of `datasets`. Out: nothing, or a text that names the row and says what to write. Left out:
reading (`trl_real.data.loading`), and which rows are worth training on (`trl_real.data.cleaning`).
"""

import csv
import re
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset

from .columns import likely_column


EXACT = 2**53  # the largest number up to which a float holds every integer

_INTEGER = re.compile(r"\s*[+-]?\d{16,}\s*")


def check_prompts(dataset: Dataset | IterableDataset, name: str) -> Any:
    """
    Raises `ValueError` if there is no prompt, or if one is neither a text nor messages, or is not of the others' kind.

    Args:
        dataset (`Dataset` or `IterableDataset`):
            The data set; of one that is streamed only the first row is looked at, since it may have no end.
        name (`str`):
            What errors call it.

    Returns:
        `str` or `list`: the first prompt.
    """
    row = next(iter(dataset), None)
    if row is None:
        raise ValueError(f"dataset_name: {name} has no rows.")
    if "prompt" not in row:
        raise ValueError(f"dataset_name: {name} has no column `prompt`, only {', '.join(row)}. {likely_column(row)}")
    prompts = [row["prompt"]] if isinstance(dataset, IterableDataset) else dataset["prompt"]
    for number, prompt in enumerate(prompts):
        if wrong := _fault(prompt, row["prompt"]):
            raise ValueError(f"dataset_name: the prompt of row {number} (from 0) of {name} {wrong}.")
    return row["prompt"]


def _fault(prompt: Any, first: Any) -> str | None:
    if prompt is None:
        return "is null; write a text or a list of messages, or take the row out"
    if not isinstance(prompt, (str, list)):
        return f"is {str(prompt)[:100]!r}, not a text or a list of messages"
    if isinstance(prompt, list) and not (prompt and all(_is_message(message) for message in prompt)):
        return f'is {str(prompt)[:100]}, not a list of messages; write {{"role": "user", "content": "..."}} for each'
    if isinstance(prompt, str) is not isinstance(first, str):
        kinds = ("a text", "a list of messages") if isinstance(prompt, str) else ("a list of messages", "a text")
        return f"is {kinds[0]} and that of row 0 is {kinds[1]}; write all of them in one way"
    return None


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") is None:
        return False
    return message.get("content") is not None or bool(message.get("tool_calls"))  # a call of tools may say nothing


def reading_fault(error: BaseException) -> str:
    """What went wrong in a file that `datasets` could not read, from the error behind its own."""
    if "corresponds to no data" in str(error):
        return "it has no data rows"
    return str(error.__cause__ or error.__context__ or error)


def check_text_file(path: Path) -> None:
    """Raises `ValueError` if a file is not in UTF-8, which `datasets` says late and without the line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"dataset_name: cannot read {path}: line {number} is not in UTF-8 ({error.reason}); save the file "
                    "in UTF-8."
                ) from error


def long_integer_columns(path: Path) -> list[str]:
    """Columns of a CSV file with an integer that a float would change; they are to be read as texts."""
    with path.open(encoding="utf-8", newline="") as file:
        found = {
            column
            for row in csv.DictReader(file)
            for column, value in row.items()
            if isinstance(value, str) and _INTEGER.fullmatch(value) and abs(int(value)) > EXACT
        }
    return sorted(column for column in found if column)
