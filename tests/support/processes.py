"""
Functions in several processes at once, with the variables of `torchrun`; real launchers are in test_distributed.py.

Imports take longer than most runs: they are done once, in a process that is forked for every other.
"""

import os
import time
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path

import torch
from torch.distributed import TCPStore

from trl_real.recipe.launch import SECONDS_TO_FREE


TIME_LIMIT = 280  # seconds, for seconds of work; DeepSpeed's first run compiles an operator
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["tests.support.preloaded"])


def together(function: Callable, *arguments: object, said: Path, processes: int = 2) -> None:
    """Calls a function of a module in every process, all of which must end well; `said` gets what they print."""
    assert not any(start(function, [arguments] * processes, said)), said.read_text()[-6000:]


def start(function: Callable, arguments: list[tuple], said: Path) -> list[int]:
    """
    Calls a function in a process per tuple of arguments, until all have ended or one fails, which ends the others.

    Returns exit codes; a signal is a negative number.
    """
    # The store is here and has its port already, so that nothing else can take it
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(store.port), TORCHELASTIC_USE_AGENT_STORE="True")
    shared |= dict(WORLD_SIZE=str(len(arguments)), LOCAL_WORLD_SIZE=str(len(arguments)))
    processes = []
    for rank, own in enumerate(arguments):
        environment = shared | dict(RANK=str(rank), LOCAL_RANK=str(rank)) if len(arguments) > 1 else {}
        processes.append(SERVER.Process(target=_run, args=(environment, said, function, own)))
        processes[-1].start()
    while alive := [process for process in processes if process.is_alive()]:
        if not wait([process.sentinel for process in alive], TIME_LIMIT) or any(_codes(processes)):
            for process in alive:
                process.kill()
                process.join()
    return _codes(processes)


def _run(environment: dict[str, str], said: Path, function: Callable, arguments: tuple) -> None:
    os.environ |= environment
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    function(*arguments)
    end_group()


def end_group() -> None:
    """Ends the process group, if there is one, once gloo's threads have freed their tensors (`end_processes`)."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        time.sleep(SECONDS_TO_FREE)
        torch.distributed.destroy_process_group()


def _codes(processes: Iterable) -> list[int]:
    """Exit codes, 0 for those that still run."""
    return [process.exitcode or 0 for process in processes]
