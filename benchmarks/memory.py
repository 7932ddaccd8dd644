"""Peak memory of trainings on a CPU beside what `--dry_run` estimates: what the formulas are worth.

    python benchmarks/memory.py --output numbers.json                # 24 runs, one at a time, up to 2 GB each
    python benchmarks/memory.py --read numbers.json                  # the same runs beside the formulas of today

Each run is a process of its own, in which every block of 64 kB or more goes back to the system when it is freed: two
optimizer steps of two micro-steps on fixed rollouts of full length. Taken is the peak of resident memory in the second
step, above what a run of a tiny model has left. Activations are what of it is neither there between the steps nor a
gradient. With a GPU, PyTorch's own peak is taken.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trl_real.rehearsal.memory import MemoryCase, Size, estimate, measure
from trl_real.rehearsal.peak import GIVE_BACK


SIZES = {
    "5e6": Size(256, 768, 6, heads=4, kv_heads=2, vocabulary=1024, prompt=32, completion=160),
    "18e6": Size(384, 1536, 8, heads=6, kv_heads=2, vocabulary=2048, prompt=32, completion=224),
    "51e6": Size(512, 2048, 12, heads=8, kv_heads=4, vocabulary=4096, prompt=64, completion=256),
}
COLUMNS = ["parameters", "trained", "rollouts", "checkpointing", "precision"]
COLUMNS += ["lasting MB", "activations MB", "peak MB", "estimated: lasting", "activations", "peak", "ratio"]


def cases() -> Iterator[tuple[str, MemoryCase]]:
    """Three sizes, all parameters or an adapter, packed or padded, with and without recomputation; bfloat16 apart."""
    for name, size in SIZES.items():
        for rank in (None, 16):
            for checkpointing in (True, False):
                for packed in (True, False):
                    yield name, MemoryCase(size, 4, packed, checkpointing, lora_rank=rank)
                yield name, MemoryCase(size, 4, True, checkpointing, bf16=True, lora_rank=rank)


def run_alone(case: MemoryCase) -> dict[str, int]:
    """The bytes of a run, in a process of its own."""
    words = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
    run = subprocess.run(words, env=os.environ | GIVE_BACK, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{case} ended with {run.returncode}:\n{run.stderr[-4000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def row(name: str, case: MemoryCase, measured: dict[str, int]) -> str:
    """A row of the table: megabytes, and the estimate of the peak as a multiple of the peak."""
    guessed = estimate(case)
    lasting = guessed["weights"] + guessed["optimizer"]
    active = measured["peak"] - measured["lasting"] - guessed["gradients"]
    numbers = [measured["lasting"], active, measured["peak"], lasting, guessed["activations"], guessed["peak"]]
    how = ["all" if case.lora_rank is None else f"LoRA {case.lora_rank}", "packed" if case.packed else "padded"]
    how += ["yes" if case.checkpointing else "no", "bfloat16" if case.bf16 else "float32"]
    ratio = f"{guessed['peak'] / measured['peak']:.2f}"
    return table_row([name, *how, *(f"{number / 1e6:.0f}" for number in numbers), ratio])


def table_row(cells: list[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def case_from(fields: dict[str, Any]) -> MemoryCase:
    """A case as JSON has it."""
    return MemoryCase(**fields | {"size": Size(**fields["size"])})


def main() -> None:
    """Read the command line, run the cases, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="File for the numbers as JSON.")
    parser.add_argument("--read", type=Path, help="Measure nothing; numbers of an earlier run.")
    parser.add_argument(
        "--sizes", nargs="+", default=list(SIZES), choices=list(SIZES), help="Parameters of the model."
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)  # for the processes that this starts
    words = parser.parse_args()
    if words.case:
        with tempfile.TemporaryDirectory() as folder:
            print("\n" + json.dumps(measure(case_from(json.loads(words.case)), Path(folder))))
        return
    print(table_row(COLUMNS))
    print(table_row(["---"] * len(COLUMNS)))
    found = []
    if words.read:
        for each in json.loads(words.read.read_text("utf-8")):
            print(row(each["name"], case_from(each["case"]), each["measured"]))
        return
    for name, case in cases():
        if name in words.sizes:
            found.append({"name": name, "case": asdict(case), "measured": run_alone(case)})
            print(row(name, case, found[-1]["measured"]), flush=True)
            if words.output:
                words.output.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
