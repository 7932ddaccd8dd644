"""`python -m tests.settings`: optimizer steps under every combination of settings, compared with the formulas."""

import argparse
import sys
import time
from dataclasses import astuple
from itertools import product
from pathlib import Path

from .cells import CELLS, COLUMNS, Cell
from .judge import TOLERANCES, Verdict, judge


PAGE = """# Settings

One optimizer step has one correct gradient, under every setting. `make settings` trains a tiny model on CPUs for two
steps of plain SGD: one on policy, and one off policy with groups spread over micro-steps. Both gradients are compared
with the formulas in float64 at the same parameters, under every combination of:

- backend: one process, or two processes (gloo) under DDP, DeepSpeed ZeRO-2, DeepSpeed ZeRO-3 or FSDP2
- parameters: full, or LoRA
- layout: packed; padded; packed with shared prompts; packed with rows on both sides of a position limit (long RoPE)
- checkpointing: none, non-reentrant, reentrant, TRL's default, or FSDP's own
- precision: float32, `bf16=True` with a float32 model, or `bf16=True` with a bfloat16 model

A cell is correct if

- both gradients differ by at most {exact:.0e} of their length, in bf16 by {rough}, where a lost forward makes 0.17;
- in float32, both losses agree too, and the optimizer takes the first step;
- the rows had the layout that was asked for;
- log-probabilities and gradients were not rounded to bfloat16 without need.

Communication buckets are smaller than a matrix. TRL makes all checkpointing reentrant for LoRA under ZeRO-3.

{correct} of {total} cells are correct. Each entry has the number of correct cells, over four layouts and three
precisions, and the largest difference in float32 and in bf16.

{table}
{wrong}
Not run: GPUs, NCCL, the kernels of FlashAttention, more than two processes, fp16, quantized weights. `make test` runs
a part in which every pair of settings meets.
"""


def entry(verdicts: dict[Cell, Verdict], backend: str, parameters: str, checkpointing: str) -> str:
    """Of the table: how many cells are correct, and their largest distances."""
    chosen = {
        cell: verdict
        for cell, verdict in verdicts.items()
        if (cell.backend, cell.parameters, cell.checkpointing) == (backend, parameters, checkpointing)
    }
    if not chosen:
        return "-"
    exact = [max(verdict.distances) for cell, verdict in chosen.items() if verdict.distances and cell.is_exact]
    rough = [max(verdict.distances) for cell, verdict in chosen.items() if verdict.distances and not cell.is_exact]
    correct = sum(not verdict.wrong for verdict in chosen.values())
    return f"{correct}/{len(chosen)}: {max(exact, default=0.0):.0e}, {max(rough, default=0.0):.3f}"


def report(verdicts: dict[Cell, Verdict]) -> str:
    """The page docs/settings.md."""
    kinds = COLUMNS["checkpointing"]
    table = [f"| backend | parameters | {' | '.join(kinds)} |", "| --- " * (len(kinds) + 2) + "|"]
    for backend, parameters in product(COLUMNS["backend"], COLUMNS["parameters"]):
        entries = " | ".join(entry(verdicts, backend, parameters, kind) for kind in kinds)
        table.append(f"| {backend} | {parameters} | {entries} |")
    wrong = [
        f"- {', '.join(astuple(cell))}: {line_of(verdict)}" for cell, verdict in verdicts.items() if verdict.wrong
    ]
    return PAGE.format(
        exact=TOLERANCES["float32"],
        rough=TOLERANCES["bf16"],
        correct=len(verdicts) - len(wrong),
        total=len(verdicts),
        table="\n".join(table),
        wrong="\n".join(["", "Not correct:", "", *wrong, ""]) if wrong else "",
    )


def line_of(verdict: Verdict) -> str:
    return "; ".join(verdict.wrong).replace("\n", " ")[:300]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.settings", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="settings that a cell must have, such as ZeRO-3 LoRA")
    parser.add_argument("--report", type=Path, help="write the page there")
    options = parser.parse_args()
    verdicts: dict[Cell, Verdict] = {}
    begin = time.perf_counter()
    for cell, verdict in judge(cell for cell in CELLS if set(options.only) <= set(astuple(cell))):
        verdicts[cell] = verdict
        distances = ", ".join(f"{each:.2g}" for each in verdict.distances)
        line = (
            f"{'WRONG' if verdict.wrong else 'correct'}  {', '.join(astuple(cell))}: {distances}  {line_of(verdict)}"
        )
        print(line, flush=True)  # noqa: T201
    if options.report:
        options.report.write_text(report(verdicts), "utf-8")
    wrong = sum(bool(verdict.wrong) for verdict in verdicts.values())
    print(f"{len(verdicts)} cells in {time.perf_counter() - begin:.0f} s, {wrong} of them wrong.")  # noqa: T201
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
