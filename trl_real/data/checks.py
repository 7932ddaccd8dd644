"""
What every row of a data set must have, and the cause that an error of reading hides.

In: a data set, or an error of `datasets`. Out: nothing, or a text that names the row and says what to write. Left out:
reading (`trl_real.data.loading`), and which rows are worth training on (`trl_real.data.cleaning`).
"""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset


# of 15 digits at most: a float does not hold every number of more
_NUMBER = re.compile(r"\s*[+-]?(?=[\d.]{1,16}\s*$)(?:0|[1-9]\d{0,14})(?:\.\d+)?\s*")
_BOOLEAN = re.compile(r"true|false", re.IGNORECASE)


def check_prompts(dataset: Dataset | IterableDataset, name: str, field: str = "dataset_name") -> Any:
    """
    Raises `ValueError` if there is no prompt, or if one is neither a text nor messages, or is not of the others' kind.

    Args:
        dataset (`Dataset` or `IterableDataset`):
            The data set; of one that is streamed only the first row is looked at, since it may have no end.
        name (`str`):
            What errors call it.
        field (`str`, *optional*, defaults to `"dataset_name"`):
            The option that errors name.

    Returns:
        `str` or `list`: the first prompt.
    """
    row = next(iter(dataset), None)
    if row is None:
        raise ValueError(f"{field}: {name} has no rows.")
    if "prompt" not in row:
        raise ValueError(
            f"{field}: {name} has no column `prompt`, only {', '.join(row)}. Rename the questions' column."
        )
    prompts = [row["prompt"]] if isinstance(dataset, IterableDataset) else dataset["prompt"]
    for number, prompt in enumerate(prompts):
        if wrong := _fault(prompt, row["prompt"]):
            raise ValueError(f"{field}: the prompt of row {number} (from 0) of {name} {wrong}.")
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


def check_text_file(path: Path, field: str) -> None:
    """Raises `ValueError` if a file is not in UTF-8, which `datasets` says late and without the line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{field}: cannot read {path}: line {number} is not in UTF-8 ({error.reason}); save the file in "
                    "UTF-8."
                ) from error


def csv_options(paths: Sequence[Path]) -> dict[str, Any]:
    """
    What `datasets` must be told of CSV files so that their values stay what is written.

    By itself it makes nothing of `None` and `NA`, 7 of `007`, and other numbers of integers that no float holds. A
    column is text that does not hold plain numbers alone, or `true` and `false` alone; a missing value is nothing.

    Args:
        paths (`list[Path]`):
            The files, which share their columns.

    Returns:
        `dict[str, Any]`: options of `load_dataset`; none without files.
    """
    if not paths:
        return {}
    values: dict[str, list[str]] = defaultdict(list)
    csv.field_size_limit(2**31 - 1)
    for path in paths:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                for column, value in row.items():
                    if column and value:
                        values[column].append(value)
    texts = [
        column
        for column, written in values.items()
        if not (all(map(_NUMBER.fullmatch, written)) or all(map(_BOOLEAN.fullmatch, written)))
    ]
    return {"converters": dict.fromkeys(texts, _text), "keep_default_na": False, "na_values": [""]}


def _text(value: str) -> str | None:
    return value or None
