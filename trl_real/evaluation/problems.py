"""
The questions of an evaluation.

In: the name of one of the paper's six benchmarks, or of any data set in one of their layouts, or a recipe. Out: a set
of problems with prompts and with the columns that judge an answer. A benchmark keeps every row. Left out: reading the
layouts (`trl_real.data.layouts`), and what a recipe's rewards say of an answer (`trl_real.evaluation.verdicts`).
"""

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.loading import FILE_FORMATS
from ..data.mathematics import read_math


@dataclass(frozen=True)
class Benchmark:
    """Where one of the paper's benchmarks is, and what the table calls it."""

    title: str
    hub: str
    split: str
    file: str
    rows: int


BENCHMARKS = {
    "aime24": Benchmark("AIME24", "HuggingFaceH4/aime_2024", "train", "aime.parquet", 30),
    "aime25": Benchmark("AIME25", "MathArena/aime_2025", "train", "aime25.parquet", 30),
    "math500": Benchmark("MATH500", "HuggingFaceH4/MATH-500", "test", "math.parquet", 500),
    "amc23": Benchmark("AMC23", "AI-MO/aimo-validation-amc", "train", "amc.parquet", 83),
    "minerva": Benchmark("Minerva", "math-ai/minervamath", "test", "minerva.parquet", 272),
    "olympiad": Benchmark("O-Bench", "math-ai/olympiadbench", "test", "olympiad_bench.parquet", 675),
}

Prompt = str | list[dict[str, Any]]


@dataclass(frozen=True)
class ProblemSet:
    """
    Problems that are averaged over.

    Args:
        name (`str`):
            Names it in folders.
        title (`str`):
            Names it in tables.
        prompts (`list`):
            Texts or lists of messages.
        columns (`list[dict]`):
            What judges the answers to each prompt.
    """

    name: str
    title: str
    prompts: list[Prompt]
    columns: list[dict[str, Any]]

    def limit(self, number: int | None) -> "ProblemSet":
        """The first problems."""
        return replace(self, prompts=self.prompts[:number], columns=self.columns[:number])

    def plain(self) -> "ProblemSet":
        """The same with the bare text of each prompt."""
        return replace(self, prompts=[_plain(prompt) for prompt in self.prompts])

    def rows(self, prompt_ids: list[list[int]]) -> list[dict[str, Any]]:
        """One row for each problem, for a store."""
        together = zip(self.prompts, prompt_ids, self.columns, strict=True)
        return [
            {"problem": number, "prompt": prompt, "prompt_ids": list(ids), "columns": columns}
            for number, (prompt, ids, columns) in enumerate(together)
        ]


def problems_digest(rows: Sequence[dict[str, Any]]) -> str:
    """Equal for stores whose models were asked the same."""
    asked = [(row["problem"], row["prompt"], row["columns"]) for row in rows]
    return hashlib.blake2b(json.dumps(asked).encode(), digest_size=8).hexdigest()


def load_benchmark(name: str, folder: Path | None = None) -> ProblemSet:
    """
    Loads a benchmark whole, in the paper's prompt format.

    Args:
        name (`str`):
            A key of `BENCHMARKS`, a local file or folder, or a hub id with `:split` if the split is not `test`.
        folder (`Path`, *optional*):
            Where the files of `BENCHMARKS` lie. Default: they come from the hub.

    Returns:
        `ProblemSet`: every row.
    """
    known = BENCHMARKS.get(name)
    if known is not None and folder is not None:
        source, split, title = str(folder / known.file), "train", known.title
    elif known is not None:
        source, split, title = known.hub, known.split, known.title
    elif Path(name).exists():
        source, split, title = name, "train", Path(name).stem
    else:
        source, _, split = name.partition(":")
        if "/" not in source or source.startswith((".", "/", "~")) or Path(source).suffix in FILE_FORMATS:
            raise ValueError(f"benchmarks: {_unknown(name)}")
        split, title = split or "test", source.rpartition("/")[2]
    rows = _read_rows(source, split, f"benchmarks: {name}: ")
    if known is not None and len(rows) != known.rows:
        raise ValueError(f"benchmarks: {name} has {len(rows)} rows in {source}, not the {known.rows} of the paper.")
    prompts = [row["prompt"] for row in rows]
    return ProblemSet(name if known else title, title, prompts, [{"answer": row["answer"]} for row in rows])


def _read_rows(source: str, split: str, prefix: str) -> list[dict[str, Any]]:
    try:
        rows = read_math(source, split)
    except ValueError as error:
        raise ValueError(prefix + str(error)) from error
    for row in rows:
        if not row["problem"] or not row["answer"]:
            raise ValueError(f"{prefix}row {row['row']} of {source} has no problem or no answer.")
    return list(rows)


def _plain(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n\n".join(message["content"] for message in prompt)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, BENCHMARKS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return (
        f"{name} is none of {', '.join(BENCHMARKS)}, and there is no file or folder of that name (looked from "
        f"{Path.cwd()}).{hint}"
    )
