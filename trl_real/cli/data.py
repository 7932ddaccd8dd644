"""`trl-real data`: finds problems of the benchmarks in training sets; `decontaminate` in a recipe removes them."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets import Dataset

from ..data.benchmarks import BENCHMARKS
from ..data.contamination import Overlap, Problem, describe, find_overlaps, read_problems
from ..data.layouts import read_math


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("trl-real data", description="Examines data sets.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="problems of the benchmarks in training sets")
    check.add_argument("names", nargs="+", metavar="TRAINING_DATA", help="files, folders or hub ids")
    check.add_argument("--split", default="train", help="split of them (default: %(default)s)")
    check.add_argument("--config", help="configuration of a hub data set")
    check.add_argument(
        "--benchmarks",
        nargs="+",
        default=list(BENCHMARKS),
        help=f"{', '.join(BENCHMARKS)}, files, or hub ids (name:split); default: these six",
    )
    check.add_argument("--data", type=Path, help="folder with the files of the six benchmarks (default: the hub)")
    check.add_argument("--output", type=Path, help="file for the pairs with their complete texts, as JSON lines")
    return parser.parse_args(words)


def summary(name: str, rows: Dataset, problems: Sequence[Problem], overlaps: Sequence[Overlap]) -> Iterator[str]:
    """A table of the benchmarks, and a line for each overlap."""
    yield f"{name}: {len({overlap.position for overlap in overlaps})} of {len(rows):,} rows are in a benchmark"
    yield f"  {'benchmark':<20} {'problems':>8} {'found':>6} {'same answer':>12} {'rows':>5}"
    for benchmark in dict.fromkeys(problem.benchmark for problem in problems):
        size = sum(problem.benchmark == benchmark for problem in problems)
        here = [overlap for overlap in overlaps if overlap.problem.benchmark == benchmark]
        found = {overlap.problem.row for overlap in here}
        same = {overlap.problem.row for overlap in here if overlap.agree}
        positions = {overlap.position for overlap in here}
        yield f"  {benchmark:<20} {size:>8} {len(found):>6} {len(same):>12} {len(positions):>5}"
    for overlap in overlaps:
        problem, answers = overlap.problem, "same answer" if overlap.agree else "other answer"
        row = rows[overlap.position]["row"]
        text = " ".join(problem.prompt.split())[:60]
        yield f"  row {row:>6} = {problem.benchmark} {problem.row:<4} {overlap.score:.2f}  {answers:<12}  {text}"


def check(args: argparse.Namespace) -> None:
    """Prints the [`summary`] of each data set, and writes the texts to `--output`."""
    problems = read_problems(args.benchmarks, args.data)
    lines = []
    for name in args.names:
        rows = read_math(name, args.split, args.config)
        overlaps = find_overlaps(rows, problems)
        print(*summary(name, rows, problems, overlaps), sep="\n")
        for overlap in overlaps:
            lines.append({"data": name, "row": rows[overlap.position]["row"], **describe(rows, overlap)})
    if args.output is not None:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def main(words: list[str]) -> None:
    try:
        check(parse(words))
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
