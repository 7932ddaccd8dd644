"""
The process that judges answers, on behalf of one caller: mathematical ones, or by a function that the caller names.

In, over the connection whose file descriptor is the first argument: numbered batches of (accepted answers, answer)
with a bound per answer and one for the batch. Out, with the same number: verdicts by position as they come, several
times a second even if there are none, and a sign that they are all: `"right"`, `"wrong"`, `"no_gold"` (no accepted
answer can be read), `"killed"` (stopped at a bound, or by a crash) or `"unjudged"` (the batch ended before its turn).

It runs as a program: `trl_real.verifier.pool` starts it with a fresh interpreter that knows neither torch nor the
caller's script, so its workers start by fork in milliseconds. It leaves when the caller does. Left out: finding the
answer in a completion (`trl_real.verifier.answers`).
"""

import logging
import os
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from .tasks import Task, load_task
from .workers import TASKS_PER_WORKER, Batch, Worker


HEARTBEAT = 0.5  # seconds between signs of life


class Server:
    """
    Serves one caller over one connection.

    Args:
        descriptor (`int`):
            File descriptor of the connection.
        caller (`int`):
            Process id of the caller, whose end is this one's.
        workers (`int`):
            Number of worker processes.
        memory_mb (`int`):
            Address space of each.
        task ([`Task`]):
            What they do.
    """

    def __init__(self, descriptor: int, caller: int, workers: int, memory_mb: int, task: Task) -> None:
        self.task = task
        self.connection = Connection(descriptor)
        self.caller, self.size, self.memory_mb = caller, workers, memory_mb
        self.workers: list[Worker] = []

    def serve(self) -> None:
        """Answers requests until the caller closes the connection or is gone."""
        with suppress(EOFError, OSError):
            self.connection.send("ready")
            while not self.caller_is_gone():
                if self.connection.poll(HEARTBEAT):
                    self.judge_batch(*self.connection.recv())
        for worker in self.workers:
            worker.end()

    def caller_is_gone(self) -> bool:
        return os.getppid() != self.caller

    def judge_batch(self, number: int, *request: Any) -> None:
        """Sends the verdicts of one batch; `EOFError` where the caller does not wait for them any more."""
        batch = Batch(*request, self.size, self.task.first_slice)
        sent: dict[int, str] = {}
        reported = time.monotonic()
        while not batch.over:
            self.hand_out(batch)
            self.collect(batch)
            if self.connection.poll(0) or self.caller_is_gone():
                raise EOFError
            if time.monotonic() - reported >= HEARTBEAT:
                reported = time.monotonic()
                self.connection.send((number, new(batch.verdicts, sent), False))
        for worker in [worker for worker in self.workers if worker.tasks]:
            self.remove(worker)
        batch.close()
        self.connection.send((number, new(batch.verdicts, sent), True))

    def hand_out(self, batch: Batch) -> None:
        """Gives every free worker something to do, and replaces those that are gone or worn out."""
        for worker in [worker for worker in self.workers if not worker.tasks]:
            if worker.done >= TASKS_PER_WORKER or not worker.process.is_alive():
                self.remove(worker)
        for worker in self.workers:
            if not worker.tasks and (tasks := batch.next_tasks()):
                worker.give(tasks)
        while len(self.workers) < self.size and (tasks := batch.next_tasks()):
            self.workers.append(self.new_worker())
            self.workers[-1].give(tasks)

    def new_worker(self) -> Worker:
        strangers = [self.connection.fileno(), *(worker.connection.fileno() for worker in self.workers)]
        return Worker(strangers, self.memory_mb, self.task)

    def collect(self, batch: Batch) -> None:
        """Waits a little for verdicts; takes dead and frozen workers' tasks back."""
        busy = {worker.connection: worker for worker in self.workers if worker.tasks}
        patience = max(0.0, min(HEARTBEAT, batch.deadline - time.monotonic()))
        for connection in wait([*busy, self.connection], timeout=patience):
            if connection is self.connection:
                continue
            try:
                index, verdict = busy[connection].take()
                batch.verdicts[index] = verdict
            except (EOFError, OSError):
                batch.lost(busy[connection], self.remove(busy[connection]))
        for worker in [worker for worker in self.workers if worker.frozen()]:
            batch.lost(worker, self.remove(worker))

    def remove(self, worker: Worker) -> int:
        """Ends a worker; returns what it had died of."""
        self.workers.remove(worker)
        return worker.end()


def new(verdicts: dict[int, str], sent: dict[int, str]) -> dict[int, str]:
    """The verdicts that were not sent yet; from now on they were."""
    fresh = {index: verdict for index, verdict in verdicts.items() if index not in sent}
    sent |= fresh
    return fresh


def main() -> None:
    logging.disable(logging.WARNING)  # math-verify warns that its own timeouts are off
    numbers, words = sys.argv[1:5], sys.argv[5:]
    Server(*map(int, numbers), load_task(words)).serve()
