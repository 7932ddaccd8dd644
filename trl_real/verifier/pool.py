"""
The caller's side of the verifier: one small pool of killable processes per process.

In: (accepted answers, answer) pairs with a bound per answer and one for all. Out: one verdict per pair, in order; what
the verdicts mean is written in `trl_real/verifier/server.py`, the program that this module starts and speaks to.

A program with an interpreter of its own, not `multiprocessing` from here, because here are torch, CUDA and threads
(which fork does not survive) and a script that spawn would import again in every worker. Left out: systems without
POSIX signals (Windows).
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
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


Pair = tuple[tuple[str, ...], str | None]

# This very package, whatever else is installed; its __init__ imports nothing
START = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
    "import trl_real.verifier.server as server; server.main()"
)
START_TIMEOUT = 300.0  # SymPy from a network disk that all processes read at once
SILENCE = 15.0  # a server that gives no sign of life for so long is frozen; it gives two a second
ATTEMPTS = 3
MEMORY_MB = 1024


def default_workers() -> int:
    """This process's share of the CPUs, between 1 and 4."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cpus // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class VerifierPool:
    """
    Judges answers in worker processes. Starts with the first batch; may be called from several threads.

    Args:
        workers (`int`, *optional*):
            Number of worker processes. Default: this process's share of the CPUs, at most 4.
        memory_mb (`int`, *optional*, defaults to `1024`):
            Address space of each worker.
        function (`str`, *optional*):
            `"module:name"` of what judges in place of the verifier, as in `trl_real.verifier.tasks`.
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
        Judges a batch.

        Args:
            pairs (`Sequence`):
                Accepted answers and the answer to judge (`None`: only asks whether an accepted answer can be read).
            answer_timeout (`float`):
                Seconds for one answer.
            batch_timeout (`float`):
                Seconds for all of them, counted from when the pool is ready.

        Returns:
            `list[str]`: `"right"`, `"wrong"`, `"no_gold"`, `"killed"` or `"unjudged"` for each pair.
        """
        if not pairs:
            return []
        verdicts: dict[int, str] = {}
        with self._lock:
            try:
                self._judge(verdicts, list(pairs), answer_timeout, batch_timeout)
            except BaseException:  # such as Ctrl-C: a reply that is on its way belongs to no later batch
                self.close()
                raise
        return [verdicts.get(index, "unjudged") for index in range(len(pairs))]

    def close(self) -> None:
        """Ends the processes. The next batch starts new ones."""
        connection, server = self._connection, self._server
        self._connection = self._server = None
        if connection is not None:
            connection.close()  # the server takes it as the end
        if server is not None:
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def _judge(self, verdicts: dict[int, str], pairs: list[Pair], answer_timeout: float, batch_timeout: float) -> None:
        """Fills in verdicts; a server that dies is replaced, and keeps those that it had sent."""
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
                    self._server.kill()  # it may be frozen, not dead
                self.close()
                # so many in a row are no answer's fault, and rewards without a verdict would hide it
                if attempt == ATTEMPTS:
                    raise RuntimeError(
                        f"The verifier (`python -P -c {START!r}`) stopped {ATTEMPTS} times; its message is above."
                    ) from error

    def _ask(
        self,
        connection: Connection,
        verdicts: dict[int, str],
        pairs: list[Pair],
        answer_timeout: float,
        batch_timeout: float,
    ) -> None:
        number = next(self._numbers)
        positions = [index for index in range(len(pairs)) if index not in verdicts]
        connection.send((number, [pairs[index] for index in positions], answer_timeout, batch_timeout))
        done = False
        while not done:
            replied, part, done = self._receive(connection, SILENCE)
            if replied != number:
                raise EOFError(f"a reply to batch {replied} instead of {number}")
            verdicts |= {positions[index]: verdict for index, verdict in part.items()}

    def _start(self) -> Connection:
        self._connection, theirs = Pipe()
        options = [theirs.fileno(), os.getpid(), self.workers or default_workers(), self.memory_mb]
        if self.function is not None:  # which is looked up where this process would find it
            options += [self.function, json.dumps([path or os.getcwd() for path in sys.path])]
        # -P: the current folder may hold modules that other packages' names would find first
        command = [sys.executable, "-P", "-W", "ignore", "-c", START, *map(str, options)]
        try:
            self._server = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the caller, whose end is the server's
            )
        finally:
            theirs.close()
        self._receive(self._connection, START_TIMEOUT)
        return self._connection

    def _receive(self, connection: Connection, seconds: float) -> Any:
        if not connection.poll(seconds):
            raise TimeoutError(f"no sign of the verifier in {seconds:.0f} s")
        return connection.recv()

    def _forget(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here, and the server is the parent's."""
        self._lock = threading.Lock()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = self._server = None


def close_at_exit(pool: VerifierPool) -> VerifierPool:
    """The same pool; its processes end with this one, and a fork of this one does not take them for its own."""
    atexit.register(pool.close)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=pool._forget)
    return pool


POOL = close_at_exit(VerifierPool())
