"""Checks of data sets: every prompt, the encoding of files, and the column types of CSV files."""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset


USUAL = ("question", "problem", "query", "instruction", "input")  # common names for a column of prompts

# At most 15 digits: a float cannot represent every longer number
_NUMBER = re.compile(r"\s*[+-]?(?=[\d.]{1,16}\s*$)(?:0|[1-9]\d{0,14})(?:\.\d+)?\s*")
_BOOLEAN = re.compile(r"true|false", re.IGNORECASE)


def check_prompts(dataset: Dataset | IterableDataset, name: str, field: str = "dataset_name") -> str | list:
    """
    Returns the first prompt; raises `ValueError` if one is missing, neither a text nor messages, or of another kind.

    Of a streamed data set, which may have no end, only the first row is checked. Errors name the data set and `field`.
    """
    row = next(iter(dataset), None)
    if row is None:
        raise ValueError(f"{field}: {name} has no rows.")
    if "prompt" not in row:
        likely = next((f"Write prompt_column: {column}." for column in USUAL if column in row), None)
        raise ValueError(
            f"{field}: {name} has no column `prompt`, only {', '.join(row)}. {likely or 'Name it with prompt_column.'}"
        )
    prompts = [row["prompt"]] if isinstance(dataset, IterableDataset) else dataset["prompt"]
    for number, prompt in enumerate(prompts):
        if problem := _prompt_problem(prompt, row["prompt"]):
            raise ValueError(f"{field}: the prompt of row {number} (from 0) of {name} {problem}.")
    return row["prompt"]


def _prompt_problem(prompt: Any, first: Any) -> str | None:
    if prompt is None:
        return "is null; write a text or a list of messages, or remove the row"
    if not isinstance(prompt, (str, list)):
        return f"is {str(prompt)[:100]!r}, not a text or a list of messages"
    if isinstance(prompt, list) and not (prompt and all(map(_is_message, prompt))):
        return f'is {str(prompt)[:100]}, not a list of messages; write {{"role": "user", "content": "..."}} for each'
    if isinstance(prompt, str) is not isinstance(first, str):
        kinds = ("a text", "a list of messages") if isinstance(prompt, str) else ("a list of messages", "a text")
        return f"is {kinds[0]}, but that of row 0 is {kinds[1]}; write all of them in one way"
    return None


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") is None:
        return False
    return message.get("content") is not None or bool(message.get("tool_calls"))  # tool calls need no content


def read_error(error: BaseException) -> str:
    """Why `datasets` could not read a file: the error behind its own."""
    if "corresponds to no data" in str(error):
        return "it has no data rows"
    return str(error.__cause__ or error.__context__ or error)


def check_encoding(path: Path, field: str) -> None:
    """Raises `ValueError` with the line if a file is not in UTF-8; `datasets` reports it late and without the line."""
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
    Options of `load_dataset` that keep the values of CSV files, which share their columns, as they are written.

    By default it reads `None` and `NA` as missing, `007` as 7, and rounds large integers. Here a column is text unless
    it holds only plain numbers, or only `true` and `false`; only empty values are missing.
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
