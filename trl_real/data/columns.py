"""
A data set's own column names, and a system message, as a recipe names them.

In: a data set and the names of its columns. Out: the same rows with the columns `prompt` and `answer`, or with a
system message before each prompt. Left out: texts and messages (`loading`), mathematical sets (`layouts`).
"""

from typing import Any

from datasets import Dataset, IterableDataset

from ..spelling import nearest


USUAL = ("question", "problem", "query", "instruction", "input")  # what a column of prompts is called elsewhere


def name_columns(
    dataset: Dataset | IterableDataset, name: str, prompt_column: str | None, answer_column: str | None
) -> Dataset | IterableDataset:
    """
    Names the columns as the training takes them; a column that has the name already is replaced.

    Args:
        dataset (`Dataset` or `IterableDataset`):
            The data set.
        name (`str`):
            What errors call it.
        prompt_column, answer_column (`str`, *optional*):
            Its columns of prompts and of accepted answers. Default: `prompt` and `answer`.

    Raises:
        `ValueError`: If there is no such column.
    """
    for wanted, column in (("prompt", prompt_column), ("answer", answer_column)):
        row = next(iter(dataset), None)
        if column in (None, wanted) or row is None:
            continue
        if column not in row:
            raise ValueError(
                f"{wanted}_column: {name} has no column `{column}`, only {', '.join(row)}.{nearest(column, row)}"
            )
        rest = dataset.remove_columns(wanted) if wanted in row else dataset
        dataset = rest.rename_column(column, wanted)
    return dataset


def likely_column(row: dict[str, Any]) -> str:
    """What to write where a data set has no column `prompt`."""
    return next(
        (f"Write prompt_column: {column}." for column in USUAL if column in row), "Name it with prompt_column."
    )


def add_system_prompt(row: dict[str, Any], text: str) -> dict[str, Any]:
    """A row with a system message before its prompt; `ValueError` if it is a text, or has one."""
    if isinstance(row["prompt"], str):
        raise ValueError(
            "system_prompt: the prompts are texts, which have no system message; set prompt_format: chat."
        )
    if row["prompt"][0]["role"] == "system":
        raise ValueError(
            f"system_prompt: a prompt has one already ({row['prompt'][0]['content'][:100]!r}); leave it out."
        )
    return {"prompt": [{"role": "system", "content": text}, *row["prompt"]]}
