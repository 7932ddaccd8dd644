"""
The paper's training sets and benchmarks, cleaned: DeepScaleR-Preview, DAPO-Math-17K in any of its forms, and others in
one of their layouts.

Rows keep their order, and the same file gives the same rows. Slow results are kept in the cache of `datasets`.
"""

from collections.abc import Sequence

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from .cleaning import (
    CleaningReport,
    find_conflicts,
    find_empty,
    find_repeats,
    find_too_long,
    find_unverifiable,
    remove,
)
from .contamination import find_contaminated, read_problems
from .layouts import read_math
from .loading import CALL_FIELDS, Fields


def load_math(
    name: str,
    split: str = "train",
    config: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_prompt_tokens: int = 1024,
    verify: bool = True,
    decontaminate: Sequence[str] = (),
    fields: Fields = CALL_FIELDS,
) -> tuple[Dataset, CleaningReport]:
    r"""
    Loads a mathematical data set in the paper's prompt format, without the rows that are useless for training.

    Args:
        name (`str`):
            A local file or folder, or a hub id.
        split (`str`, *optional*, defaults to `"train"`):
            Its split; a single file has only `"train"`.
        config (`str`, *optional*):
            Configuration of a hub data set.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Counts the tokens of a prompt, with the chat template. Default: no prompt is too long.
        max_prompt_tokens (`int`, *optional*, defaults to `1024`):
            Longer prompts are removed.
        verify (`bool`, *optional*, defaults to `True`):
            Whether the verifier checks the answers. Otherwise only texts and integers are compared.
        decontaminate (`Sequence[str]`, *optional*, defaults to `()`):
            Benchmarks whose problems are removed: names of `trl_real.data.benchmarks.BENCHMARKS`, files, or hub ids
            (`name:split`).
        fields (`Fields`, *optional*):
            The options that errors name.

    Returns:
        `tuple[Dataset, CleaningReport]`: rows with `prompt` (one user message), `answer` (accepted answers) and
        `source`, and a report that lists every removed row.

    Example:
    ```python
    >>> train, report = load_math("agentica-org/DeepScaleR-Preview-Dataset", tokenizer=tokenizer)
    >>> print(report.summary())
    >>> report.write("removed.jsonl")
    ```
    """
    if tokenizer is not None and tokenizer.chat_template is None:
        raise ValueError("tokenizer: it has no chat template, which the prompts need; set tokenizer.chat_template.")
    problems = read_problems(decontaminate, field="decontaminate")
    rows = read_math(name, split, config, fields)
    report = CleaningReport(name, len(rows), benchmarks=list(decontaminate), option=fields.name)
    rows = remove(rows, find_empty(rows), report)
    rows = remove(rows, find_repeats(rows), report)
    if verify:
        rows = remove(rows, find_unverifiable(rows), report)
    rows = remove(rows, find_conflicts(rows, verify), report)
    if problems:
        rows = remove(rows, find_contaminated(rows, problems, verify), report)
    if tokenizer is not None:
        rows = remove(rows, find_too_long(rows, tokenizer, max_prompt_tokens), report)
    return rows.select_columns(["prompt", "answer", "source"]), report
