"""
The program that judges answers for one caller, by math-verify or by a function that the caller names.

It reads numbered batches from the connection whose file descriptor is the first argument, and sends their verdicts by
position as they come, several times a second even if there are none. `trl_real.verifier.pool` starts it with a fresh
interpreter, without torch and the caller's script, so that its workers start by fork in milliseconds. It ends when the
caller does.
"""

import logging
import os
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from .tasks import Pair, Task, load_task
from .workers import TASKS_PER_WORKER, Batch, Worker


HEARTBEAT = 0.5  # seconds between signs of life


class Server:
    """Serves the process `caller` over the connection with this file descriptor, with up to `size` workers."""

    def __init__(self, descriptor: int, caller: int, size: int, memory_mb: int, task: Task) -> None:
        self.task = task
        self.connection = Connection(descriptor)
        self.caller, self.size, self.memory_mb = caller, size, memory_mb
        self.workers: list[Worker] = []

    def serve(self) -> None:
        """Answers requests until the caller closes the connection or dies."""
        with suppress(EOFError, OSError):
            self.connection.send("ready")
            while not self.caller_is_gone():
                if self.connection.poll(HEARTBEAT):
                    self.judge_batch(*self.connection.recv())
        for worker in self.workers:
            worker.end()

    def caller_is_gone(self) -> bool:
        return os.getppid() != self.caller

    def judge_batch(self, number: int, pairs: list[Pair], answer_timeout: float, batch_timeout: float) -> None:
        """Sends the verdicts of one batch; raises `EOFError` if the caller no longer waits for them."""
        batch = Batch(pairs, answer_timeout, batch_timeout, self.size, self.task.first_slice)
        sent: dict[int, str] = {}
        reported = time.monotonic()
        while not batch.over:
            self.hand_out(batch)
            self.collect(batch)
            if self.connection.poll(0) or self.caller_is_gone():
                raise EOFError
            if time.monotonic() - reported >= HEARTBEAT:
                reported = time.monotonic()
                self.connection.send((number, take_unsent(batch.verdicts, sent), False))
        for worker in [worker for worker in self.workers if worker.tasks]:
            self.remove(worker)
        batch.close()
        self.connection.send((number, take_unsent(batch.verdicts, sent), True))

    def hand_out(self, batch: Batch) -> None:
        """Gives every free worker tasks, and replaces those that died or have done enough."""
        for worker in [worker for worker in self.workers if not worker.tasks]:
            if worker.done >= TASKS_PER_WORKER or not worker.process.is_alive():
                self.remove(worker)
        for worker in self.workers:
            if not worker.tasks and (tasks := batch.next_tasks()):
                worker.assign(tasks)
        while len(self.workers) < self.size and (tasks := batch.next_tasks()):
            inherited = [self.connection.fileno(), *(worker.connection.fileno() for worker in self.workers)]
            self.workers.append(Worker(inherited, self.memory_mb, self.task))
            self.workers[-1].assign(tasks)

    def collect(self, batch: Batch) -> None:
        """Waits a little for verdicts; takes the tasks of dead and frozen workers back."""
        busy = [worker for worker in self.workers if worker.tasks]
        seconds = max(0.0, min(HEARTBEAT, batch.deadline - time.monotonic()))
        ready = wait([*(worker.connection for worker in busy), self.connection], timeout=seconds)
        for worker in [worker for worker in busy if worker.connection in ready]:
            try:
                index, verdict = worker.receive()
                batch.verdicts[index] = verdict
            except (EOFError, OSError):
                batch.take_back(worker, self.remove(worker))
        for worker in [worker for worker in self.workers if worker.is_frozen()]:
            batch.take_back(worker, self.remove(worker))

    def remove(self, worker: Worker) -> int:
        """Ends a worker; returns its exit code."""
        self.workers.remove(worker)
        return worker.end()


def take_unsent(verdicts: dict[int, str], sent: dict[int, str]) -> dict[int, str]:
    """The verdicts that were not sent yet, which are added to `sent`."""
    fresh = {index: verdict for index, verdict in verdicts.items() if index not in sent}
    sent |= fresh
    return fresh


def main() -> None:
    logging.disable(logging.WARNING)  # math-verify warns that its own timeouts are off
    descriptor, caller, size, memory_mb = map(int, sys.argv[1:5])
    Server(descriptor, caller, size, memory_mb, load_task(sys.argv[5:])).serve()
