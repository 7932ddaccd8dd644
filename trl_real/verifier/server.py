"""
The process that judges mathematical answers: math-verify behind a pool of workers that the kernel can kill.

In, over the connection whose file descriptor is the first argument: batches of (accepted answers, answer) with a bound
per answer and one for the batch. Out, in the same order: `"right"`, `"wrong"`, `"no_gold"` (no accepted answer can be
read) or `"killed"` (stopped at a bound, or by a crash).

It runs as a program of its own, never as an import: `trl_real.verifier.pool` starts it with a fresh interpreter that
knows neither torch nor the caller's script, so its workers start by fork in milliseconds. It leaves when the caller
does. Left out: finding the answer in a completion (`trl_real.verifier.answers`).
"""

import ctypes
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from math_verify import LatexExtractionConfig, LatexNormalizationConfig, parse, verify
from pebble import ProcessPool


Pair = tuple[tuple[str, ...], str | None]

PR_SET_PDEATHSIG = 1
TASKS_PER_WORKER = 500  # a fresh worker costs little, and SymPy's caches only grow
ATTEMPTS = 3
WARM_UP = (
    r"x = -\frac{3}{2}",
    r"5 - 11\sqrt{2}",
    r"\left(-\infty, \frac{1}{3}\right] \cup [4, 5)",
    r"\left(2\sqrt{3}, \frac{\pi}{6}\right)",
    r"\{1, 2.5\}",
    r"-x^3 + 2xy - 3(y - 1)(5y + 4)^2",
    r"\frac{2ab}{a^2 + b^2}",
    r"\begin{pmatrix} 1 & -\frac{1}{2} \\ 0 & 3 \end{pmatrix}",
    r"\sin^2 y + \log_2 3 - 2^{n}",
    r"10\% ",
    r"12{,}500 \text{ cm}^2",
    r"1 \le x < 7",
    r"24_{10}",
)

# `malformed_operators` reads \frac43 and 11\sqrt2, which models write and MATH has as answers
EXTRACTION = [
    LatexExtractionConfig(
        boxed_match_priority=0,
        try_extract_without_anchor=False,
        normalization_config=LatexNormalizationConfig(
            basic_latex=True, units=True, malformed_operators=True, nits=True, boxed="last"
        ),
    )
]


@lru_cache(maxsize=2048)
def read(answer: str) -> list:
    """What math-verify makes of one answer: SymPy expressions and texts, none where there is nothing to read."""
    # math-verify's own timeouts need the main thread and do not stop a computation in C: the kernel's alarm does both
    boxed = f"\\boxed{{{answer}}}"
    return parse(boxed, extraction_config=EXTRACTION, extraction_mode="first_match", parsing_timeout=None)


def judge(golds: tuple[str, ...], answer: str | None) -> str:
    """Verdict on one answer; an answer of `None` only asks whether the accepted answers can be read."""
    readable = [gold for gold in map(read, golds) if gold]
    if not readable:
        return "no_gold"
    target = read(answer) if answer is not None else []
    if target and any(verify(gold, target, timeout_seconds=None) for gold in readable):
        return "right"
    return "wrong"


def judge_within(golds: tuple[str, ...], answer: str | None, seconds: float) -> str:
    """[`judge`], after `seconds` ended by the kernel together with the process."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return judge(golds, answer)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def start_worker(server: int, descriptor: int, memory_mb: int) -> None:
    """Makes the worker easy to kill, poor and silent."""
    os.close(descriptor)
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # a Python handler would wait for the computation to end
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.getppid() != server:  # it died before prctl
        os._exit(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


class Server:
    """Serves one caller over one connection."""

    def __init__(self, descriptor: int, caller: int, workers: int, memory_mb: int) -> None:
        self.connection = Connection(descriptor)
        self.caller = caller
        self.pool: ProcessPool | None = None
        self.pool_options: dict[str, Any] = {
            "max_workers": workers,
            "max_tasks": TASKS_PER_WORKER,
            "initializer": start_worker,
            "initargs": (os.getpid(), descriptor, memory_mb),
            "context": get_context("fork"),
        }

    def serve(self) -> None:
        """Answers requests until the caller closes the connection or is gone."""
        try:
            self.connection.send("ready")
            while not self.caller_is_gone():
                if self.connection.poll(1.0):
                    self.connection.send(self.judge_batch(*self.connection.recv()))
        except (EOFError, OSError):
            pass
        finally:
            self.drop_pool()

    def caller_is_gone(self) -> bool:
        return os.getppid() != self.caller

    def judge_batch(self, pairs: Sequence[Pair], answer_timeout: float, batch_timeout: float) -> list[str]:
        """Verdicts in order. What has none at the bound of the batch is killed."""
        deadline = time.monotonic() + batch_timeout
        verdicts: dict[int, str] = {}
        for _ in range(ATTEMPTS):
            open_pairs = {index: pair for index, pair in enumerate(pairs) if index not in verdicts}
            if not open_pairs or time.monotonic() > deadline:
                break
            verdicts |= self.attempt(open_pairs, answer_timeout, deadline)
        return [verdicts.get(index, "killed") for index in range(len(pairs))]

    def attempt(self, pairs: dict[int, Pair], answer_timeout: float, deadline: float) -> dict[int, str]:
        """Judges what the pool can until the deadline; a pool that broke leaves pairs open."""
        if self.pool is None or not self.pool.active:
            self.drop_pool()
            self.pool = ProcessPool(**self.pool_options)
        # the alarm in the worker comes first; the pool's own timeout is for a worker that crashed before it reported
        backstop = answer_timeout + 2.0
        futures = {
            index: self.pool.schedule(judge_within, args=(*pair, answer_timeout), timeout=backstop)
            for index, pair in pairs.items()
        }
        pending: set = set(futures.values())
        while pending and self.pool.active and time.monotonic() < deadline:
            pending = wait(pending, timeout=min(0.5, max(0.0, deadline - time.monotonic()))).not_done
            if self.connection.poll(0) or self.caller_is_gone():
                raise EOFError
        verdicts = {index: verdict for index, future in futures.items() if (verdict := verdict_of(future)) is not None}
        if len(verdicts) < len(pairs):
            self.drop_pool()  # its queue still holds what is open
        return verdicts

    def drop_pool(self) -> None:
        if self.pool is not None:
            self.pool.stop()
            self.pool.join()
            self.pool = None


def verdict_of(future: Any) -> str | None:
    """Verdict of a finished task, `None` if it is not finished or its pool broke."""
    if not future.done():
        return None
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        return None
    # TimeoutError and ProcessExpired (both OSError): the worker was killed; others are math-verify failing
    return "killed" if isinstance(error, OSError) else "wrong"


def main() -> None:
    logging.disable(logging.WARNING)  # math-verify warns that its own timeouts are off
    for answer in WARM_UP:  # fills the parser's tables once, for every worker
        judge((answer,), answer)
    Server(*map(int, sys.argv[1:])).serve()


if __name__ == "__main__":
    main()
