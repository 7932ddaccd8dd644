"""Cost of the update phase: GRPOTrainer and REALTrainer on the same rollouts, side by side in one run.

    python benchmarks/update_phase.py                    # CPU defaults, some minutes
    python benchmarks/update_phase.py --scaling true     # how the cost grows
    python benchmarks/update_phase.py --prompt 1024 --longest 512 --rollouts 64 --steps 4 --mixes early worst
    python benchmarks/update_phase.py --entropy_coef 0.01 --regularize trained --steps 4 --mixes late early
    python benchmarks/update_phase.py --memory true --hidden 256 --longest 512 --rollouts 96 --group 4 --generations 1

The rollouts are fixed (some groups all correct, some all incorrect, the rest mixed; lengths log-normal or all at the
cap) and handed to both trainers through `rollout_func`, so that nothing is generated. The trainers take turns,
one generation each, and so does the limit; the first round warms up. Seconds (without a GPU, of CPU time) are medians
over the other rounds, from rollouts to the last optimizer step, and the ratio is the median of the rounds' ratios.
Trained tokens are the completion tokens of mixed groups, the only ones with a gradient.

`x limit` compares with the same model on the same device on the informative tokens alone, without padding: forward and
backward of every rollout with a gradient, and the forward that old log-probabilities need in all but the first
optimizer step. No trainer, no loss, no optimizer. It is run rollout by rollout; packed, with as many rollouts behind
each other as a micro-step has rows and the package's attention for them; and so that each prompt is computed once for
those. The fastest of the three counts; its tokens are those with every prompt once. It is no bound in the strict
sense: another cut may keep the device busier.

With `--memory true` each trainer runs in a process of its own, in which every block of 64 kB or more goes back to the
system when it is freed, so that the peak is that of live tensors. Reported is what a generation takes above what was
in use at its start: activations, gradients and the batch, not weights and optimizer. On a GPU PyTorch's own peak is
taken.
"""

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import Any

from fixed_rollouts import MIXES, Rollouts, Setting, about
from measure import GIVE_BACK
from records import Table
from trainers import Limit, UpdatePhase, in_turn, peak_bytes
from transformers import HfArgumentParser

from trl_real.step.layouts import share_prompts


SECONDS = ["GRPO s", "REAL s", "ratio", "x limit", "trained tokens/s, GRPO", "trained tokens/s, REAL"]
SECONDS += ["tokens with + without gradient, GRPO / REAL / limit"]
MEMORY = ["GRPO MB", "REAL MB", "ratio"]
Case = tuple[str, Rollouts, Setting, int]  # name, rollouts, setting, optimizer steps per generation


@dataclass(frozen=True)
class Program:
    """What to run."""

    mixes: list[str] = field(default_factory=lambda: list(MIXES), metadata={"help": f"Of {', '.join(MIXES)}."})
    steps: list[int] = field(default_factory=lambda: [4, 1], metadata={"help": "Optimizer steps per generation."})
    scaling: bool = about("Grow rollouts, length and share of mixed groups instead of the mixes.", False)
    memory: bool = about("Measure peak memory instead of seconds.", False)
    output: str | None = about("File for the record, as in docs/results/performance/.", None)


def cases(program: Program, setting: Setting) -> Iterator[Case]:
    """The mixes; or what happens when one number grows."""
    if not program.scaling:
        for mix in program.mixes:
            for steps in program.steps:
                yield mix, Rollouts(MIXES[mix], setting, mix == "worst"), setting, steps
        return
    for factor in (0.4, 1, 2):  # of the 20 micro-steps of the defaults: 4 optimizer steps share 8, 20 and 40
        scaled = replace(setting, rollouts=int(setting.rollouts * factor))
        yield f"{scaled.rollouts} rollouts", Rollouts(MIXES["early"], scaled), scaled, 4
    for factor in (0.5, 1, 2):
        scaled = replace(setting, longest=int(setting.longest * factor))
        yield f"up to {scaled.longest} tokens", Rollouts(MIXES["early"], scaled), scaled, 4
    for mixed in (0.1, 0.5, 1.0):
        yield f"{mixed:.0%} mixed", Rollouts((1 - mixed, 0.0), setting), setting, 4


def compare_seconds(rollouts: Rollouts, setting: Setting, steps: int) -> tuple[dict[str, Any], list[str]]:
    """Both trainers and the limit: the numbers, and a row of the table."""
    phases = {method: UpdatePhase(method, rollouts, setting, steps) for method in ("GRPO", "REAL")}
    limit = Limit(rollouts, setting, steps)
    runs = {method: phase.train for method, phase in phases.items()}
    runs |= {"single": partial(limit.generation, 1), "packed": partial(limit.generation, setting.batch)}
    runs |= {"shared": partial(limit.generation, setting.batch, share_prompts)}
    seconds = in_turn(runs, setting.generations)
    grpo, real, *least = (median(values) for values in seconds.values())
    ratio = median(b / a for a, b in zip(seconds["GRPO"], seconds["REAL"], strict=True))
    tokens = {method: phase.tokens.per_generation(setting.generations + 1) for method, phase in phases.items()}
    cells = [
        f"{grpo:.2f}",
        f"{real:.2f}",
        f"{ratio:.2f}",
        f"{real / min(least):.2f}",
        *(f"{rollouts.trained_tokens / value:.0f}" for value in (grpo, real)),
        " / ".join(f"{grad} + {no_grad}" for grad, no_grad in tokens.values()) + f" / {limit.tokens}",
    ]
    return {"seconds": seconds, "ratio": ratio, "tokens": tokens | {"limit": limit.tokens}}, cells


def compare_memory(rollouts: Rollouts, setting: Setting, steps: int) -> tuple[dict[str, Any], list[str]]:
    """Peak of both trainers, each in a fresh process: the numbers, and a row of the table."""
    peaks = {}
    for method in ("GRPO", "REAL"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            peaks[method] = process.submit(peak_bytes, method, rollouts, setting, steps).result()
    grpo, real = peaks.values()
    return {"peak_bytes": peaks}, [f"{grpo / 2**20:.0f}", f"{real / 2**20:.0f}", f"{real / grpo:.2f}"]


def main() -> None:
    """Read the command line, run the cases, print the table."""
    program, setting = HfArgumentParser(
        (Program, Setting), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args_into_dataclasses()
    compare, columns = (compare_memory, MEMORY) if program.memory else (compare_seconds, SECONDS)
    if program.memory:  # read by the C library of the processes that are started for it
        os.environ |= GIVE_BACK
    table = Table(["case", "all correct / all incorrect / mixed", "steps", *columns], program.output)
    for name, rollouts, of_case, steps in cases(program, setting):
        numbers, cells = compare(rollouts, of_case, steps)
        shares = " / ".join(f"{share:.0%}" for share in rollouts.shares)
        table.add([name, shares, str(steps), *cells], setting=asdict(of_case), **numbers)


if __name__ == "__main__":
    main()
