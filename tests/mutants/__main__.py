"""`python -m tests.mutants`: break one line of the core after another and see whether the tests notice.

Every mutant runs in a process forked after the heavy imports, on a copy of the tree.
"""

import argparse
import multiprocessing
import os
import random
import re
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from . import ALL, Mutant


ROOT = Path(__file__).parents[2]
# What the tests need, save the package itself: imported once, before a process is forked for every mutant
HEAVY = ("torch", "transformers", "datasets", "accelerate", "peft", "trl.trainer.grpo_trainer")
PATIENCE = 60  # seconds that a mutant gets beyond three times what its tests take; it may hang their processes
OUTCOMES = {0: "survived", 1: "killed", None: "killed (hangs)"}


@dataclass(frozen=True)
class Result:
    """What became of a mutant: the file it is in, an outcome, seconds."""

    mutant: Mutant
    file: str
    outcome: str
    seconds: float

    @property
    def fine(self) -> bool:
        """Killed, or survived with a reason; a reason that does not hold has to go."""
        return self.outcome.startswith("killed") if self.mutant.survives is None else self.outcome == "survived"


def copy_tree(folder: Path) -> Path:
    """The parts of the tree that the tests read."""
    for name in ("trl_real", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def run_pytest(root: Path, tests: str) -> None:
    """In a forked process: the tests of the copy; its exit status is pytest's."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    os.chdir(root)
    os.environ |= dict(PYTHONPATH=str(root), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root))
    # A smaller example of what is broken would take minutes to find
    settings.register_profile("first example", phases=[Phase.explicit, Phase.generate], database=None)
    settings.load_profile("first example")
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "trl_real")]:
        del sys.modules[name]
    sys.exit(
        int(pytest.main(["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", *shlex.split(tests)]))
    )


def exit_status(root: Path, tests: str, limit: float | None = None) -> int | None:
    """Of pytest; `None` if it took more seconds than the limit."""
    process = multiprocessing.get_context("fork").Process(target=run_pytest, args=(root, tests))
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def judge(root: Path, mutant: Mutant, limit: float) -> Result:
    """Break the copy, run the tests for no more seconds than the limit, repair it."""
    start, path = time.perf_counter(), mutant.place(root)
    text = path.read_text("utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    try:
        status = exit_status(root, mutant.tests, limit)
    finally:
        path.write_text(text, "utf-8")
    outcome = OUTCOMES.get(status, f"broken (pytest exit status {status}: the mutant must load, the tests must exist)")
    return Result(mutant, path.relative_to(root).as_posix(), outcome, time.perf_counter() - start)


def check_places() -> None:
    """Stop with all texts of the tables that the package no longer has, sampled or not."""
    errors = []
    for mutant in ALL:
        try:
            mutant.place(ROOT)
        except ValueError as error:
            errors.append(str(error))
    if errors:
        raise SystemExit("\n".join(errors))


def run(mutants: list[Mutant], minutes: float | None) -> list[Result]:
    """Judge the mutants until the time is over; the tests of each must pass without it."""
    for name in HEAVY:
        import_module(name)
    start, passing, results = time.perf_counter(), {}, []  # seconds of the tests without a mutant
    with tempfile.TemporaryDirectory() as folder:
        root = copy_tree(Path(folder))
        for mutant in mutants:
            if minutes is not None and time.perf_counter() - start > 60 * minutes:
                break
            if mutant.tests not in passing:
                before = time.perf_counter()
                if (status := exit_status(root, mutant.tests)) != 0:
                    raise SystemExit(f"pytest {mutant.tests} fails without any mutant (exit status {status}).")
                passing[mutant.tests] = time.perf_counter() - before
            result = judge(root, mutant, PATIENCE + 3 * passing[mutant.tests])
            results.append(result)
            print(f"{result.outcome:9} {result.seconds:5.1f} s  {mutant.claim}", flush=True)  # noqa: T201
    return results


def report(results: list[Result]) -> str:
    """The table of docs/mutants.md."""
    killed = sum(result.outcome.startswith("killed") for result in results)
    lines = [
        "# Mutants",
        "",
        "Bugs injected into the core one line at a time, and whether the tests named beside them fail. `make mutants`",
        "injects all of them and writes this page; `make mutants SAMPLE=4` injects as many as fit into four minutes,",
        "in random order, and writes nothing. The bugs are in `tests/mutants/`.",
        "",
        f"{len(results)} mutants: {killed} killed, {len(results) - killed} survived.",
        "",
        "| what is wrong | file | tests | outcome |",
        "| --- | --- | --- | --- |",
    ]
    for result in results:
        outcome = f"{result.outcome}: {result.mutant.survives}" if result.mutant.survives else result.outcome
        tests = result.mutant.tests.replace("|", "\\|")
        lines.append(f"| {result.mutant.claim} | `{result.file}` | `{tests}` | {outcome} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, help="stop after so many; the order is then random")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order (default: the time)")
    parser.add_argument("--only", default="", help="mutants whose claim, folder or tests match this")
    parser.add_argument("--report", type=Path, help="write the table there")
    options = parser.parse_args()
    mutants = [mutant for mutant in ALL if re.search(options.only, f"{mutant.claim} {mutant.room} {mutant.tests}")]
    if options.minutes is not None:
        print(f"order: --seed {options.seed}")  # noqa: T201
        random.Random(options.seed).shuffle(mutants)
    check_places()
    results = run(mutants, options.minutes)
    if options.report:
        options.report.write_text(report(results), "utf-8")
    bad = [result for result in results if not result.fine]
    for result in bad:
        print(f"{result.outcome}: {result.mutant.claim} ({result.file}; pytest {result.mutant.tests})")  # noqa: T201
    print(f"{len(results)} mutants, {len(bad)} of them unexplained.")  # noqa: T201
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
