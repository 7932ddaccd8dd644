r"""
Problems of a benchmark among the rows of a training set.

In: rows as `trl_real.data.layouts` reads them, and the names of benchmarks. Out: every pair of a row and a benchmark's
problem that are alike, with their score and whether their answers agree. Left out: removing rows
(`trl_real.data.mathematics`), and problems that were put into other words or translated, which no comparison of texts
finds.

Two problems are alike if nothing but spaces and forms of a letter tells them apart (score 1), or if the share of the
runs of five words that they have in common (the Jaccard index) is 0.8 or more. A word is a run of letters, a run of
digits, or a sign that changes what is asked; the rest (`{`, `$`, `\left`, `\ldots`) is a matter of spelling.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from .benchmarks import read_benchmark
from .cleaning import Findings, content, right_pairs
from .layouts import INSTRUCTION


RUN = 5
THRESHOLD = 0.8
# what `check` finds in the training sets that were at hand, by a part of their names: docs/contamination.md
KNOWN = {
    "dapo-math-17k": {"math500": 12, "amc23": 24, "olympiad": 38},
    "deepscaler": {"math500": 11, "olympiad": 2},
}

# commands that one author writes and another leaves out or calls by another name: fonts, sizes, spaces, dots, signs
_SPELLING = re.compile(
    r"\\(?:left|right|big+[lr]?|text(?:bf|it|rm)?|math(?:rm|bf|it|cal|bb)|boldsymbol|displaystyle|[dt]?frac|quad|qquad"
    r"|[clv]?dots[bcm]?|[cl]dot|le|leq|leqslant|ge|geq|geqslant|begin|end)(?![a-z])"
)
_WORD = re.compile(r"[^\W\d_]+|\d+|[-+*/=<>^!|]")

Runs = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Problem:
    """
    A problem of a benchmark.

    Args:
        benchmark (`str`):
            The benchmark's name.
        row (`int`):
            Its number there.
        key (`str`):
            As in `trl_real.data.layouts.problem_key`.
        prompt (`str`):
            Its text.
        answer (`tuple[str, ...]`):
            Accepted answers.
        runs (`frozenset`):
            Its runs of words.
    """

    benchmark: str
    row: int
    key: str
    prompt: str
    answer: tuple[str, ...]
    runs: Runs


@dataclass(frozen=True)
class Overlap:
    """
    A row that is a problem of a benchmark.

    Args:
        position (`int`):
            Position of the row.
        problem (`Problem`):
            The problem.
        score (`float`):
            Share of the runs that they have in common.
        agree (`bool`):
            Whether the answer of the row is right for the problem.
    """

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
    """All runs of five words of a prompt; of a shorter one, all its words as a single run; none without words."""
    text = unicodedata.normalize("NFKC", prompt.rstrip().removesuffix(INSTRUCTION))
    words = _WORD.findall(_SPELLING.sub(" ", text.casefold()))
    starts = range(max(1, len(words) - RUN + 1)) if words else ()
    return frozenset(tuple(words[start : start + RUN]) for start in starts)


def find_overlaps(rows: Dataset, problems: Sequence[Problem], verify: bool = True) -> list[Overlap]:
    """
    All pairs of a row and a problem that are alike.

    Args:
        rows (`Dataset`):
            Rows with the columns of `trl_real.data.layouts.FEATURES`.
        problems (`list[Problem]`):
            From [`read_problems`].
        verify (`bool`, *optional*, defaults to `True`):
            Whether the verifier compares the answers. Otherwise only texts and integers are compared.

    Returns:
        `list[Overlap]`: in the order of the rows; of each row the likest problem first.
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
    """Rows that are a problem of a benchmark, each with the likest. Arguments as in [`find_overlaps`]."""
    found: Findings = {}
    for overlap in find_overlaps(rows, problems, verify):
        found.setdefault(overlap.position, {"reason": "contaminated", **describe(rows, overlap)})
    return found


def describe(rows: Dataset, overlap: Overlap) -> dict[str, object]:
    """What a report says of an overlap, beside the number of the row."""
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
