"""
The caller's side of the verifier: one small pool of killable processes for each process.

The pool is a program with its own interpreter (`trl_real/verifier/server.py`). `multiprocessing` cannot be used here:
fork does not survive torch, CUDA and threads, and spawn would import the caller's script in every worker. It does not
run on Windows, which lacks POSIX signals.
"""

import atexit
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from .tasks import Pair


# This package, whatever else is installed; its __init__ imports nothing
START = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
    "import trl_real.verifier.server as server; server.main()"
)
START_TIMEOUT = 300.0  # SymPy may come from a network disk that all processes read at once
SILENCE = 15.0  # after so many seconds without a sign of life, of which it gives two a second, a server is frozen
ATTEMPTS = 3
MEMORY_MB = 1024


def default_workers() -> int:
    """This process's share of the CPUs, between 1 and 4."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cpus // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class VerifierPool:
    """
    Judges answers in worker processes, by default as many as this process's share of the CPUs, at most 4.

    It starts with the first batch, and may be called from several threads. Each worker has an address space of
    `memory_mb`. `function` is the `"module:name"` of one that judges in place of the verifier (`tasks.py`).
    """

    def __init__(self, workers: int | None = None, memory_mb: int = MEMORY_MB, function: str | None = None) -> None:
        self.workers = workers
        self.function = function
        self.memory_mb = memory_mb
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._server: subprocess.Popen | None = None
        self._connection: Connection | None = None

    def judge(self, pairs: Sequence[Pair], answer_timeout: float, batch_timeout: float) -> list[str]:
        """
        Verdicts on a batch, as in `trl_real.verifier.judging`.

        An answer of `None` only asks whether an accepted answer can be read. The timeouts are seconds for each answer,
        and for all of them from when the pool is ready.
        """
        if not pairs:
            return []
        verdicts: dict[int, str] = {}
        with self._lock:
            try:
                self._judge(verdicts, list(pairs), answer_timeout, batch_timeout)
            except BaseException:  # such as Ctrl-C: the reply must not reach a later batch
                self.close()
                raise
        return [verdicts.get(index, "unjudged") for index in range(len(pairs))]

    def close(self) -> None:
        """Ends the processes. The next batch starts new ones."""
        connection, server = self._connection, self._server
        self._connection = self._server = None
        if connection is not None:
            connection.close()  # which ends the server
        if server is not None:
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def _judge(self, verdicts: dict[int, str], pairs: list[Pair], answer_timeout: float, batch_timeout: float) -> None:
        """Fills in verdicts; a server that dies is replaced, and its verdicts so far are kept."""
        deadline = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                connection = self._connection or self._start()
                deadline = deadline or time.monotonic() + batch_timeout
                left = deadline - time.monotonic()
                if left > 0:
                    self._ask(connection, verdicts, pairs, answer_timeout, left)
                return
            except (EOFError, OSError) as error:
                if self._server is not None:
                    self._server.kill()  # it may be frozen
                self.close()
                # So many failures in a row are no answer's fault; missing rewards would hide them
                if attempt == ATTEMPTS:
                    raise RuntimeError(
                        f"The verifier (`python -P -c {START!r}`) stopped {ATTEMPTS} times; its message is above."
                    ) from error

    def _ask(
        self, connection: Connection, verdicts: dict[int, str], pairs: list[Pair], timeout: float, seconds: float
    ) -> None:
        number = next(self._numbers)
        positions = [index for index in range(len(pairs)) if index not in verdicts]
        connection.send((number, [pairs[index] for index in positions], timeout, seconds))
        done = False
        while not done:
            replied, part, done = self._receive(connection, SILENCE)
            if replied != number:
                raise EOFError(f"a reply to batch {replied} instead of {number}")
            verdicts |= {positions[index]: verdict for index, verdict in part.items()}

    def _start(self) -> Connection:
        connection, theirs = Pipe()
        self._connection = connection
        options = [theirs.fileno(), os.getpid(), self.workers or default_workers(), self.memory_mb]
        if self.function is not None:  # the server imports it from where this process would
            options += [self.function, json.dumps([path or os.getcwd() for path in sys.path])]
        # -P: modules in the current folder must not hide packages
        command = [sys.executable, "-P", "-W", "ignore", "-c", START, *map(str, options)]
        try:
            self._server = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C ends the caller, and that the server
            )
        finally:
            theirs.close()
        self._receive(connection, START_TIMEOUT)
        return connection

    def _receive(self, connection: Connection, seconds: float) -> Any:
        if not connection.poll(seconds):
            raise TimeoutError(f"no sign of the verifier in {seconds:.0f} s")
        return connection.recv()

    def _forget(self) -> None:
        """In a forked child: the lock may be held by a thread of the parent, whose server it is."""
        self._lock = threading.Lock()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = self._server = None


def close_at_exit(pool: VerifierPool) -> VerifierPool:
    """The same pool, whose processes end with this process; forks of this process start their own."""
    atexit.register(pool.close)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=pool._forget)
    return pool


POOL = close_at_exit(VerifierPool())
