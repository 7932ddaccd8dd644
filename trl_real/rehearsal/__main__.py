"""
A process of a check: `python -m trl_real.rehearsal MODULE:FUNCTION FOLDER`, started by `running.py`.

In: the check, and its folder. Out: `outcome.json` there, written by the first process, or by the first that fails. An
exception of the check is an outcome, with its first line.
"""

import json
import os
import sys
import traceback
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from .outcome import FAILED, Outcome


def main(name: str, folder: Path) -> int:
    """Runs the check; the exit code, with which a launcher ends the other processes."""
    module, function = name.split(":")
    try:
        outcome = getattr(import_module(f".checks.{module}", __package__), function)(folder)
    except Exception as error:  # whatever a machine does to a check is its outcome
        traceback.print_exc()
        first = next(iter(str(error).strip().splitlines()), "")
        write(folder, Outcome(FAILED, f"{type(error).__name__}: {first}"))
        return 1
    if int(os.environ.get("RANK", 0)) == 0:
        write(folder, outcome)
    return 0


def write(folder: Path, outcome: Outcome) -> None:
    """The first to write is kept: what fails afterwards fails because of it."""
    aside = folder / f"outcome-{os.getpid()}.json"
    aside.write_text(json.dumps(asdict(outcome)), "utf-8")
    try:
        os.link(aside, folder / "outcome.json")
    except FileExistsError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
