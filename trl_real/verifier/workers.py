"""
The verifier's worker processes, and how they share a batch.

Each worker has its own pipe and there is no lock, so that a killed or frozen worker delays no other. Every answer gets
a short slice of time first; only then do the slow ones share the rest.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe

from .tasks import Pair, Task


PR_SET_PDEATHSIG = 1
OUT_OF_MEMORY = 77  # exit status
TASKS_PER_WORKER = 500  # a fresh worker costs little, and SymPy's caches only grow
CHUNK, CHUNK_CHARS = 8, 16_000  # sent to a worker at once: its pipe must not fill up when it is stopped
SHORTEST_SLICE = 0.1
STARVED, BACKSTOP = 4, 2.0  # a worker is frozen after STARVED x its time limit + BACKSTOP seconds by the clock
CRASHES = 3  # of workers on an answer before it is given up


def restrict_process(server: int, memory_mb: int) -> None:
    """Makes this process easy to kill, limits its memory and discards its output."""
    for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # a Python handler would wait for the computation to end
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20, memory_mb * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.getppid() != server:  # it died before prctl
        os._exit(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def exit_on_memory_error() -> None:
    """Ends the process at a `MemoryError`, for which math-verify would call the answer wrong (from Python 3.12)."""
    if sys.version_info < (3, 12):
        return

    def leave(code: object, offset: int, error: BaseException) -> None:
        if isinstance(error, MemoryError):
            os._exit(OUT_OF_MEMORY)

    monitoring = sys.monitoring
    monitoring.use_tool_id(monitoring.DEBUGGER_ID, "verifier")
    monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.RAISE, leave)
    monitoring.set_events(monitoring.DEBUGGER_ID, monitoring.events.RAISE)


def work(connection: Connection, inherited: Sequence[int], memory_mb: int, server: int, task: Task) -> None:
    """Judges pairs from the connection; the kernel ends the process if one takes too long."""
    for descriptor in inherited:
        os.close(descriptor)
    os.setpgid(0, 0)  # what a task starts ends with it
    restrict_process(server, memory_mb)
    exit_on_memory_error()
    with suppress(EOFError, OSError):
        while os.getppid() == server:
            if not connection.poll(1.0):
                continue
            for index, pair, seconds in connection.recv():
                signal.setitimer(task.timer, seconds)
                verdict = task.judge(*pair)
                signal.setitimer(task.timer, 0)
                connection.send((index, verdict))
    os._exit(0)


class Worker:
    """One process and its tasks, of which it is busy with the first."""

    def __init__(self, inherited: Sequence[int], memory_mb: int, task: Task) -> None:
        self.connection, theirs = Pipe()
        args = (theirs, [*inherited, self.connection.fileno()], memory_mb, os.getpid(), task)
        self.process = get_context("fork").Process(target=work, args=args, daemon=True)
        self.process.start()
        theirs.close()
        self.tasks: deque[int] = deque()
        self.done = 0
        self.bound = self.last_sign = 0.0

    def assign(self, tasks: Sequence[tuple[int, Pair, float]]) -> None:
        self.tasks.extend(index for index, _, _ in tasks)
        self.bound, self.last_sign = tasks[0][2], time.monotonic()
        with suppress(OSError):  # it died: the server will find the connection closed
            self.connection.send(tasks)

    def receive(self) -> tuple[int, str]:
        """The next verdict; raises `EOFError` or `OSError` if the worker is dead."""
        index, verdict = self.connection.recv()
        self.tasks.popleft()
        self.done += 1
        self.last_sign = time.monotonic()
        return index, verdict

    def is_frozen(self) -> bool:
        return bool(self.tasks) and time.monotonic() > self.last_sign + STARVED * self.bound + BACKSTOP

    def end(self) -> int:
        """Kills the process and what it has started; returns its exit code."""
        pid = self.process.pid
        assert pid is not None  # it was started
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.connection.close()
        return self.process.exitcode or 0


class Batch:
    """The open tasks and the verdicts of one batch; each pair gets `first_slice` seconds at first."""

    def __init__(
        self, pairs: Sequence[Pair], answer_timeout: float, batch_timeout: float, workers: int, first_slice: float
    ) -> None:
        self.pairs, self.answer_timeout, self.workers = pairs, answer_timeout, workers
        self.first_slice = first_slice
        self.deadline = time.monotonic() + batch_timeout
        self.fresh, self.slow = deque(range(len(pairs))), deque[int]()
        self.retried: set[int] = set()
        self.timed_out: set[int] = set()
        self.crashes: Counter[int] = Counter()
        self.verdicts: dict[int, str] = {}

    @property
    def over(self) -> bool:
        return len(self.verdicts) == len(self.pairs) or time.monotonic() >= self.deadline

    def next_tasks(self) -> list[tuple[int, Pair, float]]:
        """The next tasks of a free worker: several new answers, or one slow one."""
        queue = self.fresh or self.slow
        if not queue:
            return []
        share = (self.deadline - time.monotonic()) * self.workers / len(queue)
        if queue is self.slow:
            self.retried.add(self.slow[0])
            return [self._task(self.slow.popleft(), max(share, SHORTEST_SLICE))]
        seconds = min(self.first_slice, max(share, SHORTEST_SLICE))
        tasks, chars = [self._task(self.fresh.popleft(), seconds)], 0
        while self.fresh and len(tasks) < min(CHUNK, len(self.fresh) / self.workers):
            chars += sum(map(len, (*self.pairs[self.fresh[0]][0], self.pairs[self.fresh[0]][1] or "")))
            if chars > CHUNK_CHARS:
                break
            tasks.append(self._task(self.fresh.popleft(), seconds))
        return tasks

    def _task(self, index: int, seconds: float) -> tuple[int, Pair, float]:
        return index, self.pairs[index], min(seconds, self.answer_timeout)

    def take_back(self, worker: Worker, status: int) -> None:
        """Puts the tasks of a dead worker back, unless the one that it was busy with is to blame."""
        if not worker.tasks:
            return
        busy, *untouched = worker.tasks
        self.fresh.extendleft(reversed(untouched))
        if status in (-signal.SIGPROF, -signal.SIGALRM):
            self.timed_out.add(busy)
            if busy in self.retried or worker.bound >= self.answer_timeout:
                self.verdicts[busy] = "killed"
            else:
                self.slow.append(busy)
            return
        self.crashes[busy] += 1
        if status == OUT_OF_MEMORY or self.crashes[busy] == CRASHES:
            self.verdicts[busy] = "killed"
        else:
            self.fresh.appendleft(busy)

    def close(self) -> None:
        """Gives the rest a verdict: killed if it had time, else unjudged."""
        for index in range(len(self.pairs)):
            self.verdicts.setdefault(index, "killed" if index in self.timed_out else "unjudged")
