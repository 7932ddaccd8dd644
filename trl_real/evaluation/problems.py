"""
The questions of an evaluation.

In: the name of one of the paper's six benchmarks, or of any data set in one of their layouts, or a recipe. Out: a set
of problems with prompts and with the columns that judge an answer. A benchmark keeps every row. Left out: reading it
(`trl_real.data.benchmarks`), and what a recipe's rewards say of an answer (`trl_real.evaluation.verdicts`).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.benchmarks import BENCHMARKS, read_benchmark


Prompt = str | list[dict[str, Any]]


@dataclass(frozen=True)
class ProblemSet:
    """
    Problems that are averaged over.

    Args:
        name (`str`):
            Names it in logs.
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
        return replace(self, prompts=[plain_text(prompt) for prompt in self.prompts])


@dataclass(frozen=True)
class HeldOut:
    """
    What a recipe says of its evaluation.

    Args:
        problems (`ProblemSet`):
            The held-out set.
        judge (`dict[str, Any]`):
            As in `trl_real.evaluation.verdicts`.
        settings (`dict[str, Any]`):
            Values for fields of `trl_real.evaluation.options.EvaluationArguments`.
    """

    problems: ProblemSet
    judge: dict[str, Any]
    settings: dict[str, Any]


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
    title, rows = read_benchmark(name, folder)
    prompts = [row["prompt"] for row in rows]
    return ProblemSet(
        name if name in BENCHMARKS else title, title, prompts, [{"answer": row["answer"]} for row in rows]
    )


def plain_text(prompt: Prompt) -> str:
    """A prompt's bare text; messages one below the other."""
    return prompt if isinstance(prompt, str) else "\n\n".join(message["content"] for message in prompt)
