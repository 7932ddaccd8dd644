"""`python -m tests.crashes`: kill runs at named moments, resume them, and see that nothing was lost.

Every run is killed twice, the second time in its next save.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .doom import Moment
from .run import KINDS, SETUPS, differences, events, start


# How many cases of every kind, in the order of `KINDS`
PLAN = {
    "one process": (10, 2, 1, 2, 1, 2),
    "LoRA": (5, 1, 1, 1, 0, 1),
    "best checkpoint": (4, 0, 0, 1, 0, 0),
    "ZeRO-3": (6, 1, 1, 1, 1, 1),
    "ZeRO-3, LoRA": (4, 1, 0, 0, 0, 0),
    "DDP": (3, 0, 0, 0, 0, 0),
    "FSDP2": (3, 1, 0, 0, 0, 0),
    "FSDP2, LoRA": (2, 0, 0, 0, 0, 0),
}


@dataclass(frozen=True)
class Case:
    """A run that is killed at the n-th event of a kind, and then in its next save."""

    setup: str
    kind: str
    number: int
    of: int  # so many cases of this kind

    def moments(self, seen: dict[str, list[str]]) -> list[Moment]:
        """Spread evenly over the events of an undisturbed run; the second over a single one of its three saves."""
        total = len(seen[self.kind])
        first = 1 + (2 * self.number + 1) * total // (2 * self.of)
        second = 1 + (7 * self.number + KINDS.index(self.kind)) % (len(seen["save"]) // 3)
        return [(self.kind, min(first, total)), ("save", second)]


def cases(setup: str) -> list[Case]:
    counts = zip(KINDS, PLAN[setup], strict=True)
    return [Case(setup, kind, number, count) for kind, count in counts for number in range(count)]


def judge(case: Case, undisturbed: Path, folder: Path) -> tuple[bool, str]:
    """Whether the run was killed, resumed and ended as the undisturbed one; where it was killed, or what is wrong."""
    rank = case.number % SETUPS[case.setup][0]
    seen = events(undisturbed, rank)
    places = []
    for kind, number in case.moments(seen):
        codes = start(case.setup, folder, (kind, number), rank)
        if any(codes):
            places.append(f"{kind} {number} ({seen[kind][number - 1]})" if not places else f"{kind} {number}")
    if codes := [code for code in start(case.setup, folder) if code]:
        return False, f"{places}: does not resume, exit codes {codes}"
    wrong = differences(folder, undisturbed)
    return bool(places) and not wrong, f"killed at {', then '.join(places)}" + f"; differs in {wrong}" * bool(wrong)


def report(results: list[tuple[Case, bool]]) -> str:
    """The page docs/crashes.md."""
    good, total = Counter(case.setup for case, fine in results if fine), Counter(case.setup for case, _ in results)
    lines = [
        "# Crashes",
        "",
        "A tiny model is trained on CPUs. A process kills itself with SIGKILL at a chosen moment, then, once resumed,",
        "again in its next save: while a file is half written, between two files, at a rename or a removal; in a",
        "forward of generation, update or evaluation; between two optimizer steps; while the final model is saved.",
        "With two processes, the other one is then killed too, as a launcher does. The command that started the run",
        "resumes it. Log (except times), weights, optimizer and random state must then be bit-identical to those of",
        "an undisturbed run.",
        "`python -m tests.crashes --report docs/crashes.md` runs all and writes this page.",
        "",
        f"{sum(good.values())} of {sum(total.values())} killed runs ended bit-identical to an undisturbed one.",
        "",
        f"| run | processes | {' | '.join(KINDS)} | as undisturbed |",
        "| --- " * (len(KINDS) + 3) + "|",
    ]
    for setup in total:
        counts = " | ".join(str(count) for count in PLAN[setup])
        lines.append(f"| {setup} | {SETUPS[setup][0]} | {counts} | {good[setup]} of {total[setup]} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="setups with this in their name")
    parser.add_argument("--report", type=Path, help="write the page there")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        for setup in (setup for setup in PLAN if options.only in setup):
            undisturbed = Path(name, setup)
            if any(codes := start(setup, undisturbed)):
                raise SystemExit(f"{setup}: the undisturbed run ended with {codes}; see {undisturbed}/said.txt")
            for case in cases(setup):
                begin = time.perf_counter()
                folder = Path(name, f"{setup} {case.kind} {case.number}")
                fine, what = judge(case, undisturbed, folder)
                results.append((case, fine))
                seconds = time.perf_counter() - begin
                print(f"{'same' if fine else 'WRONG':5} {seconds:5.1f} s  {setup}: {what}", flush=True)  # noqa: T201
    if options.report:
        options.report.write_text(report(results), "utf-8")
    lost = sum(not fine for _, fine in results)
    print(f"{len(results)} runs, {lost} of them lost something.")  # noqa: T201
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
