"""Whatever happens to the verifier's processes, every verdict is right, missing or counted, and none comes late."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from trl_real.verifier.answers import final_answer
from trl_real.verifier.pool import Pair, VerifierPool


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")

# So many that a fault meets a batch that is under way
PAIRS: list[Pair] = [((f"x+{n % 3}",), f"1+x+{n}-{n}") for n in range(400)]
RIGHT = ["right" if n % 3 == 1 else "wrong" for n in range(400)]
HANGS: list[Pair] = [(("1/3",), rf"\binom{{{10**8 + n}}}{{50000000}}") for n in range(12)]


@pytest.fixture
def pool() -> Iterator[VerifierPool]:
    pool = VerifierPool(workers=2)
    assert pool.judge([(("x+1",), "1+x")], 5.0, 60.0) == ["right"]
    processes = psutil.Process(pool._server.pid).children(recursive=True)
    yield pool
    pool.close()
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive


def server(pool: VerifierPool) -> list[psutil.Process]:
    return [psutil.Process(pool._server.pid)]


def workers(pool: VerifierPool) -> list[psutil.Process]:
    return server(pool)[0].children()


@pytest.mark.parametrize("whom", [workers, server])
def test_stopped_processes_cost_no_verdict(pool: VerifierPool, monkeypatch: Any, whom: Callable) -> None:
    monkeypatch.setattr("trl_real.verifier.pool.SILENCE", 3.0)
    timer = threading.Timer(0.2, lambda: [process.suspend() for process in whom(pool)])
    timer.start()
    assert pool.judge(PAIRS, 5.0, 60.0) == RIGHT
    timer.join()


def test_processes_that_die_between_two_batches_cost_no_verdict(pool: VerifierPool) -> None:
    for whom in (workers, server):
        for process in whom(pool):
            process.kill()
        assert pool.judge(PAIRS[:30], 5.0, 60.0) == RIGHT[:30]


def test_a_worker_killed_again_and_again_costs_no_verdict(pool: VerifierPool) -> None:
    end = threading.Event()

    def kill() -> None:
        while not end.wait(0.4):
            for worker in workers(pool)[:1]:
                worker.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    verdicts = pool.judge(PAIRS, 5.0, 60.0)
    end.set()
    thread.join()
    assert verdicts == RIGHT


def test_a_server_killed_twice_costs_no_verdict_and_three_times_is_an_error(pool: VerifierPool) -> None:
    kills = []

    def kill(times: int) -> None:
        for _ in range(times):
            time.sleep(0.3)
            victim = pool._server
            while victim is None or victim.pid in kills or not psutil.Process(victim.pid).children():
                time.sleep(0.05)
                victim = pool._server
            kills.append(victim.pid)
            victim.kill()

    threading.Thread(target=kill, args=(2,)).start()
    assert pool.judge(PAIRS + HANGS[:2], 2.0, 60.0)[:400] == RIGHT
    assert len(kills) == 2
    threading.Thread(target=kill, args=(3,)).start()
    with pytest.raises(RuntimeError, match="stopped 3 times"):
        pool.judge(HANGS, 3.0, 60.0)
    assert pool.judge(PAIRS[:30], 5.0, 60.0) == RIGHT[:30]


def test_slow_answers_cost_no_other_answer_its_verdict_wherever_they_stand() -> None:
    pool = VerifierPool(workers=1)
    verdicts = pool.judge(HANGS[:3] + PAIRS[:50] + HANGS[3:6], 2.0, 5.0)
    pool.close()
    assert verdicts == ["killed"] * 3 + RIGHT[:50] + ["killed"] * 3


class Interrupted(BaseException):
    pass


def interrupt(number: int, frame: object) -> None:
    raise Interrupted


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3, 1.0, 1.8])
def test_the_verdicts_of_an_interrupted_batch_do_not_go_to_the_next_one(seconds: float) -> None:
    """From before the start of the processes until the batch is under way."""
    pool = VerifierPool(workers=2)
    earlier = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):  # around the timer too: it may ring before the call begins
            signal.setitimer(signal.ITIMER_REAL, seconds or 1e-4)
            pool.judge(HANGS, 5.0, 60.0)
    finally:
        signal.signal(signal.SIGALRM, earlier)
    assert pool._server is None and pool._connection is None
    assert pool.judge([(("x+1",), f"1+x+{n}-{n}") for n in range(len(HANGS))], 5.0, 60.0) == ["right"] * len(HANGS)
    pool.close()


def test_an_answer_that_exhausts_the_memory_costs_no_other_its_verdict() -> None:
    pool = VerifierPool(workers=2, memory_mb=300)
    exhausting: list[Pair] = [(("1/3",), rf"(1+x)^{{100000000{n}}}") for n in range(2)]
    verdicts = pool.judge([*exhausting, *PAIRS[:30]], 60.0, 120.0)
    pool.close()
    # before Python 3.12 math-verify swallows the error and calls the answer wrong
    assert set(verdicts[:2]) <= ({"killed"} if sys.version_info >= (3, 12) else {"killed", "wrong"})
    assert verdicts[2:] == RIGHT[:30]


def test_a_rank_that_dies_costs_the_other_no_verdict_and_leaves_no_process() -> None:
    ranks = []
    for pairs, expected in ((HANGS, None), (PAIRS, RIGHT)):
        ranks.append(os.fork())
        if ranks[-1] == 0:
            os._exit(VerifierPool(workers=1).judge(pairs, 30.0, 120.0) != expected)
    dying = psutil.Process(ranks[0])
    processes, end = [], time.monotonic() + 60
    while len(processes) < 2:  # its server and a worker: it is in its batch
        assert time.monotonic() < end
        time.sleep(0.05)
        processes = dying.children(recursive=True)
    dying.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(ranks[0], 0)[1]) == -signal.SIGKILL
    assert os.waitstatus_to_exitcode(os.waitpid(ranks[1], 0)[1]) == 0
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive


def test_a_caller_that_was_stopped_goes_on_with_its_batch(pool: VerifierPool) -> None:
    child = os.fork()
    if child == 0:  # a caller of its own, with a server of its own
        os._exit(VerifierPool(workers=1).judge(PAIRS, 5.0, 60.0) != RIGHT)
    time.sleep(2.0)
    os.kill(child, signal.SIGSTOP)
    time.sleep(1.0)
    os.kill(child, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_eight_threads_get_their_own_verdicts(pool: VerifierPool) -> None:
    results: dict[int, list[str]] = {}

    def judge(number: int) -> None:
        results[number] = pool.judge(PAIRS[number:][:40], 5.0, 60.0)

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: RIGHT[number:][:40] for number in range(8)}


def test_finding_an_answer_takes_no_time_however_many_braces_there_are() -> None:
    start = time.process_time()
    final_answer(r"\boxed{" + "{" * 20_000 + "1" + "}" * 20_000 + "}")
    assert final_answer(r"\boxed{" + "{" * 900 + "1" + "}" * 900 + "}") == "1"
    assert final_answer(r"\boxed{{ {1}2 }}") == "{1}2"
    assert final_answer(r"\boxed{{1}{2}}") == "{1}{2}"
    assert time.process_time() - start < 1  # it takes 0.03
