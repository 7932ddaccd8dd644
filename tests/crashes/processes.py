"""Starts the processes of a run."""

from pathlib import Path

from tests.crashes.doom import Moment
from tests.crashes.run import SETUPS, live
from tests.support import processes


def start(setup: str, folder: Path, moment: Moment | None = None, rank: int = 0) -> list[int]:
    """A part of a run, to its end or until the process of this rank is killed; exit codes, negative for signals."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [(setup, folder, moment if index == rank else None) for index in range(SETUPS[setup][0])]
    return processes.start(live, arguments, folder / "said.txt")
