"""
The verifier beside TRL's `accuracy_reward` and plain math-verify, on the accepted answers of the six test sets.

In: the sets in a folder of parquet files (`ground_truth` in `reward_model`). Out: a Markdown table of the share of
other spellings that are called wrong and of near misses that are called right. Both are made here from the accepted
answers, and are right or wrong by construction. Left out: real model outputs.

    python benchmarks/verifier.py DATA --golds 10000 --output docs/results/performance/verifier.json
"""

import argparse
import logging
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from math_verify import parse, verify
from records import Table
from trl.rewards import accuracy_reward

from trl_real.rewards.mathematics import math_reward
from trl_real.verifier.answers import accepted_answers


SETS = ("aime", "aime25", "amc", "math", "minerva", "olympiad_bench")
Pair = tuple[str, str]
_INTEGER = re.compile(r"-?[0-9]{1,15}")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+")
_ROWS = re.compile(r"(-?[0-9]+)\s*\\\\\s*(-?[0-9]+)(?![0-9])")
_LAST_NUMBER = re.compile(r"(?<![0-9.])([0-9]+)(?![0-9.]*[0-9])")


def golds(folder: Path, name: str) -> list[str]:
    """One accepted answer of each row that has just one."""
    rows = pd.read_parquet(folder / f"{name}.parquet").reward_model
    answers = [accepted_answers(row["ground_truth"]) for row in rows]
    return [answer[0].strip().strip("$").strip() for answer in answers if len(answer) == 1]


def spellings(gold: str) -> Iterator[str]:
    """Other ways to write an answer."""
    yield gold
    yield f" {gold} ."
    yield rf"\displaystyle {gold}"
    yield gold.replace(r"\frac", r"\dfrac")
    yield gold.replace("-", "−")
    yield re.sub(r"\s*,\s*", ", ", gold)
    yield re.sub(r"\s*(&|\\\\)\s*", r" \1 ", gold)
    if "=" not in gold and r"\text" not in gold and "," not in gold:
        yield rf"\textcolor{{blue}}{{{gold}}}"
    if _INTEGER.fullmatch(gold):
        yield f"x = {gold}"
        yield rf"{gold}.0"
        yield rf"{gold} \text{{ units}}"
        yield rf"\frac{{{int(gold) * 6}}}{{6}}"
        yield rf"{int(gold) - 3} + 3 = {gold}"
        yield f"{int(gold):,}"
    if _DECIMAL.fullmatch(gold):
        yield gold + "0"
        yield rf"{gold} \times 10^{{0}}"


def near_misses(gold: str) -> Iterator[str]:
    """Other answers that look alike: another last number, sign or power, or a text that takes it back."""
    found = list(_LAST_NUMBER.finditer(gold))
    if found:
        number = found[-1]
        yield gold[: number.start()] + str(int(number[1]) + 1) + gold[number.end() :]
    if _INTEGER.fullmatch(gold) or _DECIMAL.fullmatch(gold):
        yield rf"{gold}\text{{ (wrong)}}"
        yield rf"{gold} \text{{ is not the answer}}"
        yield f"{gold}_{{7}}"
        yield f"{int(float(gold)) + 1} = {gold}"
        yield rf"{gold} \times 10^{{-1}}" if float(gold) else "1"
        if float(gold):  # 0t is 0
            yield rf"{gold}t"
            yield rf"{gold}\mathrm{{x}}"
    if _INTEGER.fullmatch(gold) and int(gold):
        yield f"{-int(gold)}"
        yield f"{gold}.0000004"
    if (rows := _ROWS.search(gold)) and rows[1] != rows[2]:
        yield f"{gold[: rows.start()]}{rows[2]} \\\\ {rows[1]}{gold[rows.end() :]}"
    if re.search(r"10\^\{?-", gold):
        yield r"3 \times 10^{-31}"
        yield "0"


def judged_by_trl(pairs: list[Pair], boxed: bool) -> list[bool]:
    completions = [[{"role": "assistant", "content": rf"The answer is $\boxed{{{found}}}$."}] for _, found in pairs]
    solutions = [rf"$\boxed{{{gold}}}$" if boxed else gold for gold, _ in pairs]
    return [reward == 1.0 for reward in accuracy_reward(completions, solutions)]


def judged_by_math_verify(pairs: list[Pair]) -> list[bool]:
    return [verify(parse(f"${gold}$"), parse(rf"The answer is $\boxed{{{found}}}$.")) for gold, found in pairs]


def judged_by_ours(pairs: list[Pair]) -> list[bool]:
    completions = [rf"The answer is $\boxed{{{found}}}$." for _, found in pairs]
    return [reward == 1.0 for reward in math_reward(None, completions, [[gold] for gold, _ in pairs])]


JUDGES = {
    "this package": judged_by_ours,
    "TRL, boxed golds": lambda pairs: judged_by_trl(pairs, True),
    "TRL, raw golds": lambda pairs: judged_by_trl(pairs, False),
    "math-verify": judged_by_math_verify,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, help="file for the record")
    parser.add_argument("--golds", type=int, default=80, help="so many of each set, at random")
    parser.add_argument("--show", action="store_true", help="list what this package judges otherwise")
    options = parser.parse_args()
    logging.disable(logging.ERROR)
    pairs: dict[str, list[Pair]] = defaultdict(list)
    for name in SETS:
        of_set = golds(options.data, name)
        for gold in random.Random(0).sample(of_set, min(options.golds, len(of_set))):
            pairs["spellings"] += [(gold, other) for other in dict.fromkeys(spellings(gold))]
            pairs["near misses"] += [(gold, other) for other in dict.fromkeys(near_misses(gold)) if other != gold]
    counts = [f"{len(pairs[kind]):,} {kind}" for kind in ("spellings", "near misses")]
    table = Table(["judge", f"rejected of {counts[0]}", f"accepted of {counts[1]}"], options.output)
    for name, judge in JUDGES.items():
        right = {kind: judge(of_kind) for kind, of_kind in pairs.items()}
        rejected = right["spellings"].count(False) / len(pairs["spellings"])
        accepted = right["near misses"].count(True) / len(pairs["near misses"])
        table.add([name, f"{rejected:.2%}", f"{accepted:.2%}"])
        if options.show and name == "this package":
            for kind, expected in (("spellings", True), ("near misses", False)):
                for pair, verdict in zip(pairs[kind], right[kind], strict=True):
                    if verdict is not expected:
                        print(kind, *map(repr, pair))


if __name__ == "__main__":
    main()
