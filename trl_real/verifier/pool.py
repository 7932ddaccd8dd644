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
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path


Pair = tuple[tuple[str, ...], str | None]

SERVER = Path(__file__).with_name("server.py")
START_TIMEOUT = 300.0  # SymPy from a network disk that all processes read at once
GRACE = 30.0  # what the server may take beyond the bound of a batch before it is taken for hung
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
    """

    def __init__(self, workers: int | None = None, memory_mb: int = MEMORY_MB) -> None:
        self.workers = workers
        self.memory_mb = memory_mb
        self._lock = threading.Lock()
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
            `list[str]`: `"right"`, `"wrong"`, `"no_gold"` or `"killed"` for each pair.
        """
        if not pairs:
            return []
        with self._lock:
            for last_attempt in (False, True):
                try:
                    return self._ask(pairs, answer_timeout, batch_timeout)
                except (EOFError, OSError) as error:
                    self.close()
                    # two in a row are no answer's fault, and rewards of 0 would hide it
                    if last_attempt:
                        raise RuntimeError(f"The verifier ({SERVER}) stopped twice; its message is above.") from error
        raise AssertionError("unreachable")

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

    def _ask(self, pairs: Sequence[Pair], answer_timeout: float, batch_timeout: float) -> list[str]:
        connection = self._connection or self._start()
        connection.send((pairs, answer_timeout, batch_timeout))
        return self._receive(connection, batch_timeout + GRACE)

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        options = [theirs.fileno(), os.getpid(), self.workers or default_workers(), self.memory_mb]
        # -P: the package's folder holds modules that other packages' names would find first
        command = [sys.executable, "-P", "-W", "ignore", str(SERVER), *map(str, options)]
        self._connection = ours
        self._server = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the caller, whose end is the server's
        )
        theirs.close()
        self._receive(ours, START_TIMEOUT)
        return ours

    def _receive(self, connection: Connection, seconds: float) -> list[str]:
        if not connection.poll(seconds):
            self._server.kill()
            raise TimeoutError(f"no answer from the verifier in {seconds:.0f} s")
        return connection.recv()

    def _forget(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here, and the server is the parent's."""
        self._lock = threading.Lock()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = self._server = None


POOL = VerifierPool()
atexit.register(POOL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL._forget)
