"""
The verifier's worker processes, and how they share a batch.

In: (accepted answers, answer) pairs, a bound for one and a deadline for all. Out: verdicts, as they come. One pipe for
each worker and no lock between them, so that a worker that is killed or frozen holds up nobody else. Every answer
first gets a short slice of time; only then do the slow ones share what is left. Left out: what is done with a pair
(`trl_real.verifier.tasks`) and the caller (`trl_real.verifier.server`).
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
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection

from .tasks import Pair, Task


PR_SET_PDEATHSIG = 1
OUT_OF_MEMORY = 77  # exit status
TASKS_PER_WORKER = 500  # a fresh worker costs little, and SymPy's caches only grow
CHUNK, CHUNK_CHARS = 8, 16_000  # what a worker is sent at once: a stopped one must not fill its pipe
SHORTEST_SLICE = 0.1
STARVED = 4  # times its processor time that an answer may take by the clock; then its worker is frozen
BACKSTOP = 2.0  # seconds more
CRASHES = 3  # of the worker, until its answer is to blame


def make_poor_and_silent(server: int, memory_mb: int) -> None:
    """Makes this process easy to kill, limits its memory and takes its voice."""
    for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGTERM):
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


def leave_on_memory_error() -> None:
    """Ends the process at a `MemoryError`, which math-verify would swallow and call wrong (Python 3.12 on)."""
    if sys.version_info < (3, 12):
        return

    def leave(code: object, offset: int, error: BaseException) -> None:
        if isinstance(error, MemoryError):
            os._exit(OUT_OF_MEMORY)

    monitoring = sys.monitoring
    monitoring.use_tool_id(monitoring.DEBUGGER_ID, "verifier")
    monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.RAISE, leave)
    monitoring.set_events(monitoring.DEBUGGER_ID, monitoring.events.RAISE)


def work(connection: Connection, strangers: Sequence[int], memory_mb: int, server: int, task: Task) -> None:
    """Judges what comes over the connection; the kernel ends the process where an answer takes too long."""
    for descriptor in strangers:
        os.close(descriptor)
    os.setpgid(0, 0)  # what a task starts ends with it
    make_poor_and_silent(server, memory_mb)
    leave_on_memory_error()
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
    """One process and what it was given to do: of its tasks it is busy with the first."""

    def __init__(self, strangers: Sequence[int], memory_mb: int, task: Task) -> None:
        self.connection, theirs = Pipe()
        args = (theirs, [*strangers, self.connection.fileno()], memory_mb, os.getpid(), task)
        self.process = get_context("fork").Process(target=work, args=args, daemon=True)
        self.process.start()
        theirs.close()
        self.tasks: deque[int] = deque()
        self.done = 0
        self.bound = self.last_sign = 0.0

    def give(self, tasks: Sequence[tuple[int, Pair, float]]) -> None:
        self.tasks.extend(index for index, _, _ in tasks)
        self.bound, self.last_sign = tasks[0][2], time.monotonic()
        with suppress(OSError):  # it is gone: the batch will find the connection closed
            self.connection.send(tasks)

    def take(self) -> tuple[int, str]:
        """The next verdict; `EOFError` or `OSError` from a dead worker."""
        index, verdict = self.connection.recv()
        self.tasks.popleft()
        self.done += 1
        self.last_sign = time.monotonic()
        return index, verdict

    def frozen(self) -> bool:
        return bool(self.tasks) and time.monotonic() > self.last_sign + STARVED * self.bound + BACKSTOP

    def end(self) -> int:
        """Kills the process and what it has started; what it had died of, or of this."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.connection.close()
        return self.process.exitcode


class Batch:
    """
    What is open of one batch, and the verdicts.

    Args:
        pairs (`Sequence`):
            Accepted answers and answer.
        answer_timeout (`float`):
            Seconds for one answer.
        batch_timeout (`float`):
            Seconds for all, from now.
        workers (`int`):
            How many share them.
        first_slice (`float`):
            Seconds that an answer gets at first.
    """

    def __init__(
        self, pairs: Sequence[Pair], answer_timeout: float, batch_timeout: float, workers: int, first_slice: float
    ) -> None:
        self.pairs, self.answer_timeout, self.workers = pairs, answer_timeout, workers
        self.first_slice = first_slice
        self.deadline = time.monotonic() + batch_timeout
        self.fresh, self.slow = deque(range(len(pairs))), deque[int]()
        self.second: set[int] = set()  # had their second chance
        self.judged_in_vain: set[int] = set()
        self.crashes: Counter[int] = Counter()
        self.verdicts: dict[int, str] = {}

    @property
    def over(self) -> bool:
        return len(self.verdicts) == len(self.pairs) or time.monotonic() >= self.deadline

    def next_tasks(self) -> list[tuple[int, Pair, float]]:
        """What a free worker does next: several new answers, or one slow one."""
        queue = self.fresh or self.slow
        if not queue:
            return []
        share = (self.deadline - time.monotonic()) * self.workers / len(queue)
        if queue is self.slow:
            self.second.add(self.slow[0])
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

    def lost(self, worker: Worker, status: int) -> None:
        """Puts back what a dead worker had; the answer that it was busy with may be to blame."""
        if not worker.tasks:
            return
        busy, *untouched = worker.tasks
        self.fresh.extendleft(reversed(untouched))
        if status in (-signal.SIGPROF, -signal.SIGALRM):
            self.judged_in_vain.add(busy)
            if busy in self.second or worker.bound >= self.answer_timeout:
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
        """Says of what has no verdict whether it had its time."""
        for index in range(len(self.pairs)):
            self.verdicts.setdefault(index, "killed" if index in self.judged_in_vain else "unjudged")
