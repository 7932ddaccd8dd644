"""
Which rows of a mathematical data set are useless for training, and the report of the removed rows.

The `find_*` functions return the position and the reason of each such row, with its evidence.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..verifier import answers
from ..verifier.answers import quick_verdict
from ..verifier.judging import BATCH_TIMEOUT, judge_answers, verifiable


REASONS = {
    "empty": "no problem, or no answer",
    "duplicate": "the problem and its answer are in an earlier row",
    "unverifiable": "the verifier cannot read the answer, or does not accept it as right",
    "conflict": "another row has the same problem with another answer",
    "contaminated": "the problem is in a benchmark",
    "too_long": "the prompt has too many tokens",
}
# Generous, so that a busy machine removes the same rows as an idle one
ANSWER_TIMEOUT = 30.0
# Passed to `map`: the cache of `datasets` does not notice changes in functions that the mapped one calls
VERIFIER_CODE = sorted(Path(answers.__file__).parent.glob("*.py"))

# Python's bytes, dictionaries, inf and nan as texts, in which the parser would find an answer
_NO_ANSWER = re.compile(r"""b(["']).*\1|\{\s*["'].*:.*\}|[+-]?(inf|nan)""", re.DOTALL | re.IGNORECASE)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)

Pair = tuple[tuple[str, ...], str]  # accepted answers, and an answer
Findings = dict[int, dict[str, Any]]  # position of a row to remove -> what the report says of it


@dataclass
class CleaningReport:
    """What cleaning removed: for each row its number in the source (`row`), the `reason` and the evidence."""

    name: str  # of the data set
    rows: int  # before cleaning
    removed: list[dict[str, Any]] = field(default_factory=list)
    benchmarks: list[str] = field(default_factory=list)  # that the rows were compared with
    option: str = "dataset_name"  # that errors name

    @property
    def kept(self) -> int:
        return self.rows - len(self.removed)

    @property
    def counts(self) -> dict[str, int]:
        """Removed rows by reason, every reason of `REASONS` included."""
        counted = Counter(entry["reason"] for entry in self.removed)
        return {reason: counted[reason] for reason in REASONS}

    def summary(self) -> str:
        """The counts as a table."""
        compared = ", ".join(self.benchmarks) or "not compared: decontaminate is not set"
        texts = REASONS | {"contaminated": f"{REASONS['contaminated']} ({compared})"}
        removed = [(reason, -number, texts[reason]) for reason, number in self.counts.items()]
        lines = [("rows", self.rows, ""), *removed, ("kept", self.kept, "")]
        return "\n".join([self.name, *(f"  {word:<12} {number:>9,}  {text}".rstrip() for word, number, text in lines)])

    def write(self, path: str | Path) -> None:
        """Writes one JSON line for each removed row, in the order of the source."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            for entry in sorted(self.removed, key=lambda entry: entry["row"]):
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def remove(rows: Dataset, found: Findings, report: CleaningReport) -> Dataset:
    """The rows without those found, which are added to the report."""
    if not found:
        return rows
    numbers = rows["row"][:]
    report.removed += [{"row": numbers[position], **finding} for position, finding in found.items()]
    if not report.kept:
        raise ValueError(f"{report.option}: no row is left. {report.summary()}")
    return rows.select([position for position in range(len(rows)) if position not in found])


def content(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a row in the report."""
    return {"prompt": row["prompt"][0]["content"], "answer": row["answer"]}


def find_empty(rows: Dataset) -> Findings:
    """Rows without a problem or without an answer."""
    return {
        position: {"reason": "empty", **content(rows[position])}
        for position, (problem, answer) in enumerate(zip(rows["problem"][:], rows["answer"][:], strict=True))
        if not problem or not answer
    }


def _groups(rows: Dataset) -> list[list[int]]:
    """Positions of the rows of each problem."""
    groups: dict[str, list[int]] = {}
    for position, problem in enumerate(rows["problem"][:]):
        groups.setdefault(problem, []).append(position)
    return list(groups.values())


def find_repeats(rows: Dataset) -> Findings:
    """Rows that repeat an earlier problem with the same text as its answer: 99 % of the raw DAPO-Math-17K."""
    answers, numbers, found = rows["answer"][:], rows["row"][:], {}
    for group in _groups(rows):
        first: dict[tuple[str, ...], int] = {}
        for position in group:
            earlier = first.setdefault(tuple(answers[position]), position)
            if earlier != position:
                found[position] = {"reason": "duplicate", "same_as": numbers[earlier]}
    return found


def find_unverifiable(rows: Dataset) -> Findings:
    """Rows with an accepted answer that the verifier cannot read or does not accept as right."""
    code = version("math-verify") + "".join(path.read_text("utf-8") for path in VERIFIER_CODE)
    checked = rows.select_columns(["answer"]).map(
        _check_answers,
        batched=True,
        batch_size=None,
        remove_columns=["answer"],
        fn_kwargs={"code": code},
        desc="Verifying the answers",
    )
    return {
        position: {"reason": "unverifiable", **content(rows[position])}
        for position, verified in enumerate(checked["verified"][:])
        if not verified or not all(map(_is_complete, rows[position]["answer"]))
    }


def _is_complete(answer: str) -> bool:
    r"""Whether an answer has balanced braces, unlike `\frac{1}{`, and is not the text of a Python object."""
    depth = sum({"{": 1, "}": -1}.get(brace, 0) for brace in _BRACE.findall(answer))
    return depth == 0 and not _NO_ANSWER.fullmatch(answer)


def _check_answers(batch: dict[str, list], code: str) -> dict[str, list[bool]]:
    return {"verified": verifiable(batch["answer"], ANSWER_TIMEOUT)}


def right_pairs(pairs: Sequence[Pair], verify: bool) -> set[Pair]:
    """The pairs whose answer is right; without `verify`, only texts and integers are compared."""
    verdicts = judge_answers(pairs, ANSWER_TIMEOUT, BATCH_TIMEOUT) if verify else [quick_verdict(*p) for p in pairs]
    return {pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict == "right"}


def find_conflicts(rows: Dataset, verify: bool) -> Findings:
    """Of rows with the same problem: all if their answers differ, else all except the first."""
    answers, numbers, found = list(map(tuple, rows["answer"])), rows["row"][:], {}
    groups = [group for group in _groups(rows) if len(group) > 1]
    pairs = [(answers[group[0]], answer) for group in groups for row in group[1:] for answer in answers[row]]
    right = right_pairs(pairs, verify)
    for first, *others in groups:
        if all(any((answers[first], answer) in right for answer in answers[row]) for row in others):
            found |= {row: {"reason": "duplicate", "same_as": numbers[first]} for row in others}
            continue
        for row in (first, *others):
            twins = [numbers[twin] for twin in (first, *others) if twin != row]
            found[row] = {"reason": "conflict", "conflicts_with": twins, **content(rows[row])}
    return found


def find_too_long(rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int) -> Findings:
    """Rows whose prompt, rendered with the chat template, has too many tokens."""
    found: Findings = {}
    for start in range(0, len(rows), 1000):
        prompts = rows[start : start + 1000]["prompt"]
        tokenized = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
        for position, tokens in enumerate(map(len, cast(list[list[int]], tokenized)), start):
            if tokens > max_prompt_tokens:
                found[position] = {"reason": "too_long", "tokens": tokens, **content(rows[position])}
    return found
