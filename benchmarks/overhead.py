"""What REALTrainer does besides forwards and backwards: planning a generation, and moving rollouts between processes.

    python benchmarks/overhead.py
    python -m torch.distributed.run --standalone --nproc_per_node 2 benchmarks/overhead.py --rollouts 1024

Alone it plans 10,240 rollouts for 1, 8 and 64 processes and micro-steps of several sizes. How good a plan is: the
share of the computed tokens that are padding, and the tokens of the process with most of them in a micro-step over the
mean of all processes. Under torchrun it moves the rollouts that the plan wants elsewhere than where they were made,
and reports how many, how many bytes a process receives, and seconds.

The rollouts: the mix `early`, prompts of 100 to 300 tokens, log-normal completions with a mean near 0.4 of the cap.
"""

import argparse
import os
import time
from statistics import median

import torch
import torch.distributed as dist
from accelerate import PartialState
from fixed_rollouts import MIXES, Rollouts, Setting
from records import Table

from trl_real.step.plan import Capacity, StepPlan, plan_generation
from trl_real.step.rollouts import Rollout, exchange


GROUP, STEPS, LONGEST = 8, 4, 8192


def draw(count: int) -> tuple[list[int], list[int], list[bool]]:
    """Prompt and completion tokens of the rollouts, and which of them have a gradient."""
    generator = torch.Generator().manual_seed(2)
    prompts = torch.randint(100, 300, (count // GROUP,), generator=generator).repeat_interleave(GROUP).tolist()
    # The ids do not matter here: lengths for a cap of 1,000, which are then stretched
    rollouts = Rollouts(MIXES["early"], Setting(rollouts=count, group=GROUP, longest=1000))
    informative = set(rollouts.informative)
    completions = [length * LONGEST // 1000 for length in rollouts.lengths]
    return prompts, completions, [row in informative for row in range(count)]


def make_plan(capacity: Capacity, keep: list[bool]) -> list[StepPlan]:
    """The plan of the generation, the first of its optimizer steps on policy."""
    micro_steps = len(keep) // (capacity.processes * capacity.rows * STEPS)
    return plan_generation(capacity, keep, GROUP, STEPS, micro_steps, on_policy_step=0)


def computed(capacity: Capacity, rows: tuple[int, ...]) -> int:
    """Tokens that a forward of these rows computes."""
    if capacity.packed or not rows:
        return sum(capacity.lengths[row] for row in rows)
    width = max(capacity.prompts[row] for row in rows) + max(capacity.completions[row] for row in rows)
    return len(rows) * width


def quality(capacity: Capacity, plans: list[StepPlan]) -> tuple[float, float, float]:
    """Share of padding, slowest over mean process (weighed by tokens), share of rows that change process."""
    tokens = slowest = mean = moved = rows = 0.0
    per_process = len(capacity.lengths) // capacity.processes
    for plan in plans:
        for micro_step in plan.micro_steps:
            parts = list(zip(*micro_step, strict=True))  # by process, its rows in every forward
            work = [sum(computed(capacity, part) for part in forwards) for forwards in parts] or [0]
            slowest, mean = slowest + max(work), mean + sum(work) / len(work)
            for process, forwards in enumerate(parts):
                here = [row for part in forwards for row in part]
                tokens += sum(capacity.lengths[row] for row in here)
                rows, moved = rows + len(here), moved + sum(row // per_process != process for row in here)
    return 1 - tokens / (mean * capacity.processes), slowest / mean, moved / rows


def planning(count: int, output: str | None) -> None:
    """The table of plans."""
    columns = ["processes", "rollouts per micro-step", "layout", "seconds", "padding", "slowest / mean process"]
    table = Table([*columns, "rollouts that move"], output)
    prompts, completions, keep = draw(count)
    for processes in (1, 8, 64):
        for batch in (4, 8, 20) if processes == 64 else (4, 16, 40):
            for packed in (True, False):
                capacity = Capacity(processes, batch, prompts, completions, packed)
                seconds = []
                for _ in range(3):
                    start = time.process_time()
                    plans = make_plan(capacity, keep)
                    seconds.append(time.process_time() - start)
                padding, imbalance, moved = quality(capacity, plans)
                layout = "packed" if packed else "padded"
                cells = [str(processes), str(batch), layout, f"{median(seconds):.2f}", f"{padding:.1%}"]
                table.add([*cells, f"{imbalance:.2f}", f"{moved:.0%}"])


def moving(count: int, output: str | None) -> None:
    """Rows, bytes and seconds of the exchange between the processes of this launch."""
    state = PartialState(cpu=not torch.cuda.is_available())
    prompts, completions, keep = draw(count)
    capacity = Capacity(state.num_processes, 8, prompts, completions, packed=True)
    plans = make_plan(capacity, keep)
    wanted = [[row for plan in plans for row in plan.rows(process)] for process in range(state.num_processes)]
    share = count // state.num_processes
    mine = range(state.process_index * share, (state.process_index + 1) * share)
    lengths = [(prompts[row], completions[row]) for row in mine]
    ids = [[torch.ones(length, dtype=torch.long, device=state.device) for length in pair] for pair in lengths]
    rollouts = [
        Rollout(row, *pair, torch.ones_like(pair[1]), prompt_key=row // GROUP)
        for row, pair in zip(mine, ids, strict=True)
    ]
    seconds = []
    for _ in range(4):
        state.wait_for_everyone()
        start = time.perf_counter()
        exchange(rollouts, wanted, state.process_index, state.device)
        state.wait_for_everyone()
        seconds.append(time.perf_counter() - start)
    moved = [row for process, rows in enumerate(wanted) for row in rows if row // share != process]
    if state.is_main_process:
        megabytes = sum(8 * (prompts[row] + 2 * completions[row]) for row in moved) / 2**20
        table = Table(["processes", "rollouts", "rollouts that move", "MB received", "seconds"], output)
        cells = [f"{state.num_processes}", f"{count:,}", f"{len(moved):,}", f"{megabytes:.0f}"]
        table.add([*cells, f"{median(seconds[1:]):.2f}"])
    dist.destroy_process_group()


def main() -> None:
    """Plans alone; under torchrun, moves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=10240, help="rollouts per generation")
    parser.add_argument("--output", help="file for the record, as in docs/results/performance/")
    options = parser.parse_args()
    (moving if "WORLD_SIZE" in os.environ else planning)(options.rollouts, options.output)


if __name__ == "__main__":
    main()
