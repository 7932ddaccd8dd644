"""
Runs the checks one after another, each in processes of its own.

In: the table of the checks. Out: an `Outcome` for each, in time. Whatever a check does to its processes, even if it
crashes or hangs, stays there: they are ended with all that they started. Left out: what is printed of it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from .machine import gpus
from .outcome import FAILED, NOT_RUN, Outcome
from .peak import GIVE_BACK
from .table import CHECKS, Check


MINUTES = 10.0  # for all checks together
LOG_LINES = 40


def rehearse(minutes: float = MINUTES, checks: Iterable[Check] = CHECKS) -> Iterator[tuple[Check, Outcome]]:
    """
    Runs the checks.

    Args:
        minutes (`float`, *optional*, defaults to `10`):
            For all of them; those after that are not run. The limit of each grows with it.
        checks (`Iterable[Check]`, *optional*):
            Default: all.

    Yields:
        `tuple[Check, Outcome]`: each check when it has ended.
    """
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="trl-real-rehearsal-") as scratch:
        for number, check in enumerate(checks):
            left, lacks = end - time.monotonic(), check.lacks()
            if lacks:
                yield check, Outcome(NOT_RUN, lacks)
            elif left <= 0:
                yield check, Outcome(NOT_RUN, f"the {minutes:g} minutes for all checks were over")
            else:
                folder = Path(scratch) / str(number)
                folder.mkdir()
                yield check, run(check, folder, min(check.limit * minutes / MINUTES, left))


def run(check: Check, folder: Path, seconds: float) -> Outcome:
    """
    Runs one check.

    Args:
        check ([`Check`]):
            Which.
        folder (`Path`):
            An empty folder for what it writes.
        seconds (`float`):
            After which it is ended.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(check.processes)]
    program = ["-m", __package__, check.function, str(folder)]
    if check.everywhere:
        program = [*launcher, *program]
    start, log = time.monotonic(), folder / "log.txt"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, *program],
            env=environment(check, folder),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_group(process)
    outcome = read_outcome(folder, code, seconds)
    lines = log.read_text("utf-8", errors="replace").splitlines()[-LOG_LINES:] if outcome.verdict == FAILED else []
    return replace(outcome, seconds=round(time.monotonic() - start, 1), log=lines)


def environment(check: Check, folder: Path) -> dict[str, str]:
    """Variables for the processes of a check."""
    ours = os.environ | GIVE_BACK | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    # This folder's package, also where it is not installed; and the caller may be the process of a launcher itself
    ours["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    # What is compiled there is locked meanwhile, and the lock of a process that was ended stays
    ours.setdefault("TORCH_EXTENSIONS_DIR", str(folder / "operators"))
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        ours.pop(name, None)
    if not gpus():
        ours |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    elif not check.everywhere:  # Transformers would spread a process without a launcher over all GPUs
        ours["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return ours


def end_group(process: subprocess.Popen) -> None:
    """Ends a process that was started in a session of its own, with all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def read_outcome(folder: Path, code: int | None, seconds: float) -> Outcome:
    """What a check wrote, or what its end says if it could not."""
    written = folder / "outcome.json"
    if code is None:
        return Outcome(FAILED, f"not over after {seconds:.0f} seconds")
    if written.is_file():
        outcome = Outcome(**json.loads(written.read_text("utf-8")))
        # A crash after the last line of a check is one all the same
        return (
            outcome if code == 0 or outcome.verdict == FAILED else replace(outcome, verdict=FAILED, said=ended(code))
        )
    return Outcome(FAILED, ended(code))


def ended(code: int) -> str:
    """Of processes that did not end by themselves, or not well."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
