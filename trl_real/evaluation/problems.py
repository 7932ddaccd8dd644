"""The problems of an evaluation: the paper's six benchmarks, or any data set in one of their layouts."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.benchmarks import BENCHMARKS, read_benchmark


Prompt = str | list[dict[str, Any]]


@dataclass(frozen=True)
class ProblemSet:
    """Problems that are averaged over: `name` is for logs, `title` for tables, `columns` judge the answers."""

    name: str
    title: str
    prompts: list[Prompt]
    columns: list[dict[str, Any]]

    def plain(self) -> "ProblemSet":
        """The same with the bare text of each prompt."""
        return replace(self, prompts=[plain_text(prompt) for prompt in self.prompts])


@dataclass(frozen=True)
class HeldOut:
    """A recipe's evaluation: its problems, a judge (`verdicts.py`), and values for options."""

    problems: ProblemSet
    judge: dict[str, Any]
    settings: dict[str, Any]


def load_benchmark(name: str, folder: Path | None = None) -> ProblemSet:
    """Loads all of a benchmark with the paper's prompts; arguments as in `trl_real.data.benchmarks.read_benchmark`."""
    try:
        title, rows = read_benchmark(name, folder)
    except ValueError as error:
        if name not in BENCHMARKS or folder is not None:
            raise
        raise ValueError(
            f"{error} Without the hub, write --data FOLDER, with {BENCHMARKS[name].file} in it."
        ) from error
    columns = [{"answer": row["answer"]} for row in rows]
    return ProblemSet(name if name in BENCHMARKS else title, title, [row["prompt"] for row in rows], columns)


def plain_text(prompt: Prompt) -> str:
    """A prompt's bare text; messages one below the other."""
    return prompt if isinstance(prompt, str) else "\n\n".join(message["content"] for message in prompt)
