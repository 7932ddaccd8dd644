"""Starts the processes of a run, as `torchrun` does: when one ends by a signal, the others are ended too."""

import os
from collections.abc import Iterable
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path

from torch.distributed import TCPStore

from tests.crashes.doom import Moment
from tests.crashes.run import SETUPS, live


TIME_LIMIT = 280  # seconds, for seconds of work; DeepSpeed's first run compiles an operator
# Imports take longer than a run: they are done once, in a process that is forked for every run
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["tests.crashes.run", "deepspeed.runtime.zero.muon.original_muon"])


def start_one(environment: dict[str, str], *arguments: object) -> None:
    """In the new process."""
    os.environ |= environment
    live(*arguments)


def start(setup: str, folder: Path, moment: Moment | None = None, rank: int = 0) -> list[int]:
    """
    A part of a run, to its end or to that of one of its processes.

    Args:
        setup (`str`):
            Key of `SETUPS`.
        folder (`Path`):
            Of the run.
        moment (`tuple`, *optional*):
            At which a process ends.
        rank (`int`):
            That process.

    Returns:
        `list[int]`: exit codes; a signal is a negative number.
    """
    count = SETUPS[setup][0]
    folder.mkdir(parents=True, exist_ok=True)
    # The store is here and has its port already, so that nothing else can take it
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(store.port), TORCHELASTIC_USE_AGENT_STORE="True")
    shared |= dict(WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count))
    processes = []
    for index in range(count):
        environment = shared | dict(RANK=str(index), LOCAL_RANK=str(index)) if count > 1 else {}
        own = moment if index == rank else None
        processes.append(SERVER.Process(target=start_one, args=(environment, setup, folder, own)))
        processes[-1].start()
    while alive := [process for process in processes if process.is_alive()]:
        if not wait([process.sentinel for process in alive], TIME_LIMIT) or any(codes(processes)):
            for process in alive:
                process.kill()
                process.join()
    return codes(processes)


def codes(processes: Iterable) -> list[int]:
    """Exit codes, 0 for those that still run."""
    return [process.exitcode or 0 for process in processes]
