"""`python -m tests.settings`: a training step under every combination of settings, compared with the formulas.

In: the table of `cells.py`. Out: one line per cell, docs/settings.md if asked for, exit status 1 if a cell is not as it
must be.
"""

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

from .cells import CELLS, COLUMNS, Cell
from .judge import TOLERANCES, Verdict, judge


def summary(verdicts: Iterable[tuple[Cell, Verdict]]) -> str:
    """An entry of the page: how many cells are correct, and the largest distance in float32 and in bf16."""
    cells = list(verdicts)
    if not cells:
        return ""
    largest = {
        exact: max(
            (d for cell, v in cells for d in v.distances if (cell.precision == "float32") == exact), default=0.0
        )
        for exact in (True, False)
    }
    correct = sum(not verdict.wrong for _, verdict in cells)
    return f"{correct} of {len(cells)}: {largest[True]:.0e}, {largest[False]:.3f}"


def report(verdicts: dict[Cell, Verdict]) -> str:
    """The page docs/settings.md."""
    lines = [
        "# Settings that were compared",
        "",
        "One optimizer step has one correct gradient, under every setting. A tiny model takes two steps of plain SGD on",
        "CPUs: one on policy, and one off policy with groups that are spread over micro-steps. Both gradients are compared",
        "with the formulas in float64, evaluated at the same parameters, under every combination of",
        "",
        "- backend: one process, and two processes (gloo) under DDP, DeepSpeed ZeRO-2 and ZeRO-3, FSDP2;",
        "- all parameters, or LoRA;",
        "- layout: packed, padded, packed with shared prompts, packed with rows on both sides of a position limit (long",
        "  RoPE);",
        "- checkpointing: none, non-reentrant, reentrant, TRL's default, and FSDP's own;",
        "- precision: float32; `bf16=True` with a model in float32; `bf16=True` with a model in bfloat16.",
        "",
        "Communication buckets are smaller than any matrix. A cell counts as correct if the distance of both gradients,",
        f"relative to their length, is at most {TOLERANCES['float32']:.0e} in float32 and {TOLERANCES['bf16']} in bf16; "
        "if the rows",
        "were laid out as asked; and if neither log-probabilities nor gradients are rounded to bfloat16 where they need",
        "not be. A forward that is lost changes a gradient by 0.06 or more. Under ZeRO-3 with LoRA, TRL makes all",
        "checkpointing reentrant.",
        "",
        "An entry has the number of correct cells (four layouts in three precisions), and the largest distance in float32",
        "and in bf16.",
        "",
        f"| backend, parameters | {' | '.join(COLUMNS['checkpointing'])} |",
        "| --- " * (len(COLUMNS["checkpointing"]) + 1) + "|",
    ]
    for backend in COLUMNS["backend"]:
        for parameters in COLUMNS["parameters"]:
            entries = [
                summary(
                    (cell, v)
                    for cell, v in verdicts.items()
                    if astuple(cell)[::3] == (backend, checkpointing) and cell.parameters == parameters
                )
                for checkpointing in COLUMNS["checkpointing"]
            ]
            lines.append(f"| {backend}, {parameters} | {' | '.join(entries)} |")
    lines += [
        "",
        "Not run: a GPU, NCCL, the kernels of FlashAttention, more than two processes, quantised weights.",
        "`make settings` runs all cells and writes this page; `make test` runs some in which every pair of settings meets.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.settings", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="settings that the cells must have, such as ZeRO-3 LoRA")
    parser.add_argument("--report", type=Path, help="write the page there")
    options = parser.parse_args()
    verdicts, begin = {}, time.perf_counter()
    for cell, verdict in judge(cell for cell in CELLS if set(options.only) <= set(astuple(cell))):
        verdicts[cell] = verdict
        found = ", ".join(f"{each:.2g}" for each in verdict.distances)
        what = "; ".join(verdict.wrong)[:300].replace("\n", " ")
        print(f"{'WRONG' if what else 'right'}  {', '.join(astuple(cell))}: {found or '-'}  {what}", flush=True)  # noqa: T201
    if options.report:
        options.report.write_text(report(verdicts), "utf-8")
    wrong = sum(bool(verdict.wrong) for verdict in verdicts.values())
    print(f"{len(verdicts)} cells in {time.perf_counter() - begin:.0f} s, {wrong} of them wrong.")  # noqa: T201
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
