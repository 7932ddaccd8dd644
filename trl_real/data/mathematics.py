"""
The paper's training sets and benchmarks, cleaned.

In: the hub id or the local file of DeepScaleR-Preview, of DAPO-Math-17K in any of its forms, or of one of the six
benchmarks. Out: rows with `prompt` (one user message), `answer` (list of accepted answers) and `source`, in the order
of the source, and a report that names every row that was removed, and why. The same file gives the same rows; what is
slow is kept in the cache of `datasets`. Left out: other data sets (`trl_real.data.loading`), shuffling, streaming.
"""

from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from . import layouts
from .cleaning import (
    CleaningReport,
    find_conflicts,
    find_empty,
    find_repeats,
    find_too_long,
    find_unverifiable,
    remove,
)
from .layouts import FEATURES, find_layout, standard_rows
from .loading import load_splits, pick_split


def load_math(
    name: str,
    split: str = "train",
    config: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_prompt_tokens: int = 1024,
    verify: bool = True,
) -> tuple[Dataset, CleaningReport]:
    r"""
    Loads a mathematical data set in the paper's prompt format and removes the rows that cannot be trained on.

    Args:
        name (`str`):
            A local file or folder, or a hub id.
        split (`str`, *optional*, defaults to `"train"`):
            Split of it; a single file has only `"train"`.
        config (`str`, *optional*):
            Configuration of a hub data set.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Counts the tokens of a prompt, with its chat template. Default: no prompt is too long.
        max_prompt_tokens (`int`, *optional*, defaults to `1024`):
            Longer prompts are removed.
        verify (`bool`, *optional*, defaults to `True`):
            Whether the verifier checks the answers. Otherwise only texts and integers are compared.

    Returns:
        `tuple[Dataset, CleaningReport]`: the rows, and what was removed.

    Example:
    ```python
    >>> train, report = load_math("agentica-org/DeepScaleR-Preview-Dataset", tokenizer=tokenizer)
    >>> print(report.summary())
    >>> report.write("removed.jsonl")
    ```
    """
    if tokenizer is not None and tokenizer.chat_template is None:
        raise ValueError("tokenizer: it has no chat template, which the prompts need; set tokenizer.chat_template.")
    rows = read_math(name, split, config)
    report = CleaningReport(name, len(rows))
    rows = remove(rows, find_empty(rows), report)
    rows = remove(rows, find_repeats(rows), report)
    if verify:
        rows = remove(rows, find_unverifiable(rows), report)
    rows = remove(rows, find_conflicts(rows, verify), report)
    if tokenizer is not None:
        rows = remove(rows, find_too_long(rows, tokenizer, max_prompt_tokens), report)
    return rows.select_columns(["prompt", "answer", "source"]), report


def read_math(name: str, split: str = "train", config: str | None = None) -> Dataset:
    """All rows in the paper's prompt format, with the columns of `FEATURES`. Arguments as in [`load_math`]."""
    path = Path(name).expanduser()
    if path.is_file() and not path.stat().st_size:
        raise ValueError(f"dataset_name: {name} is an empty file.")
    raw = pick_split(load_splits(name, config, streaming=False), split, "split")
    code = Path(layouts.__file__).read_text("utf-8")  # the cache would not see that it changed
    return raw.map(
        standard_rows,
        batched=True,
        with_indices=True,
        remove_columns=raw.column_names,
        features=FEATURES,
        fn_kwargs={"layout": find_layout(raw, name), "name": path.stem if path.exists() else name, "code": code},
        desc="Reading the problems",
    )
