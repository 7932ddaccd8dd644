r"""
Finds problems of benchmarks in a training set. Reworded or translated problems are not found.

Two problems are alike if they differ only in spaces and letter forms (score 1), or if the share of their runs of five
words that they have in common (the Jaccard index) is at least 0.8. A word is a run of letters, a run of digits, or a
sign that changes the question; `{`, `$`, `\left`, `\ldots` and the like are ignored as spelling.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset

from .benchmarks import read_benchmark
from .cleaning import Findings, content, right_pairs
from .layouts import INSTRUCTION


RUN = 5
THRESHOLD = 0.8
# What `trl-real data check` finds in training sets, by a part of their names: docs/contamination.md
KNOWN = {
    "dapo-math-17k": {"math500": 12, "amc23": 24, "olympiad": 38},
    "deepscaler": {"math500": 11, "olympiad": 2},
}

# Commands that only some authors write, or write differently: fonts, sizes, spaces, dots, signs
_SPELLING = re.compile(
    r"\\(?:left|right|big+[lr]?|text(?:bf|it|rm)?|math(?:rm|bf|it|cal|bb)|boldsymbol|displaystyle|[dt]?frac|quad|qquad"
    r"|[clv]?dots[bcm]?|[cl]dot|le|leq|leqslant|ge|geq|geqslant|begin|end)(?![a-z])"
)
_WORD = re.compile(r"[^\W\d_]+|\d+|[-+*/=<>^!|]")

Runs = frozenset[tuple[str, ...]]


class Problem(NamedTuple):
    """A problem of a benchmark: its number there (`row`), its text, accepted answers and runs of words."""

    benchmark: str
    row: int
    key: str
    prompt: str
    answer: tuple[str, ...]
    runs: Runs


class Overlap(NamedTuple):
    """A row like a problem, at a position of the data set; `agree`: whether its answer is right for the problem."""

    position: int
    problem: Problem
    score: float
    agree: bool


def read_problems(names: Sequence[str], folder: Path | None = None, field: str = "benchmarks") -> list[Problem]:
    """All problems of some benchmarks. Arguments as in [`~trl_real.data.benchmarks.read_benchmark`]."""
    if isinstance(names, str):
        raise ValueError(f"{field}: {names!r} is a text; write a list, such as [{names}].")
    problems = []
    for name in dict.fromkeys(names):
        for row in read_benchmark(name, folder, field)[1]:
            prompt = row["prompt"][0]["content"]
            problems.append(Problem(name, row["row"], row["problem"], prompt, tuple(row["answer"]), word_runs(prompt)))
    return problems


def word_runs(prompt: str) -> Runs:
    """All runs of five words of a prompt; of a shorter prompt, its words as one run, if there are any."""
    text = unicodedata.normalize("NFKC", prompt.rstrip().removesuffix(INSTRUCTION))
    words = _WORD.findall(_SPELLING.sub(" ", text.casefold()))
    starts = range(max(1, len(words) - RUN + 1)) if words else ()
    return frozenset(tuple(words[start : start + RUN]) for start in starts)


def find_overlaps(rows: Dataset, problems: Sequence[Problem], verify: bool = True) -> list[Overlap]:
    """
    All pairs of a row, from [`~trl_real.data.layouts.read_math`], and a problem that are alike.

    They are in the order of the rows, and for each row the most similar problem comes first. Without `verify`, answers
    are compared only as texts and integers.
    """
    pairs = list(_alike(rows, problems))
    answers = rows["answer"][:]
    asked = [(problem.answer, answer) for position, problem, _ in pairs for answer in answers[position]]
    right = right_pairs(asked, verify)
    return [
        Overlap(position, problem, score, any((problem.answer, answer) in right for answer in answers[position]))
        for position, problem, score in pairs
    ]


def _alike(rows: Dataset, problems: Sequence[Problem]) -> Iterator[tuple[int, Problem, float]]:
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    same: dict[str, list[int]] = defaultdict(list)
    for number, problem in enumerate(problems):
        same[problem.key].append(number)
        for run in problem.runs:
            holders[run].append(number)
    for position, (prompt, key) in enumerate(zip(rows["prompt"][:], rows["problem"][:], strict=True)):
        runs = word_runs(prompt[0]["content"])
        shared = Counter(number for run in runs for number in holders.get(run, ()))
        scores = {
            number: common / (len(runs) + len(problems[number].runs) - common) for number, common in shared.items()
        }
        scores |= dict.fromkeys(same.get(key, ()), 1.0)
        for number in sorted(scores, key=lambda number: (-scores[number], number)):
            if scores[number] >= THRESHOLD:
                yield position, problems[number], scores[number]


def find_contaminated(rows: Dataset, problems: Sequence[Problem], verify: bool) -> Findings:
    """Rows like a problem, each with the most similar one. Arguments as in [`find_overlaps`]."""
    found: Findings = {}
    for overlap in find_overlaps(rows, problems, verify):
        found.setdefault(overlap.position, {"reason": "contaminated", **describe(rows, overlap)})
    return found


def describe(rows: Dataset, overlap: Overlap) -> dict[str, object]:
    """The fields of an overlap in a report, besides the row number."""
    problem = overlap.problem
    return {
        "benchmark": problem.benchmark,
        "benchmark_row": problem.row,
        "score": round(overlap.score, 3),
        "answers_agree": overlap.agree,
        **content(rows[overlap.position]),
        "benchmark_prompt": problem.prompt,
        "benchmark_answer": list(problem.answer),
    }
