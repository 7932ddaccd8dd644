"""The verifier of mathematical answers: what is right, and that nothing can make it hang, lie or stay behind."""

import json
import pickle
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.verifier.pairs import ATTACKED, DIFFERENT, SAME, hostile_answers
from trl_real.rewards.mathematics import make_math_reward, math_reward
from trl_real.verifier.answers import accepted_answers
from trl_real.verifier.normal import normalize
from trl_real.verifier.pool import POOL, VerifierPool


ROOT = Path(__file__).parents[2]
HANG = r"\binom{100000000}{50000000}"
ENDLESS_HANGS = [rf"\boxed{{9^{{9^{{{number}}}}}}}" for number in range(9, 99)]


def boxed(answer: str) -> str:
    return rf"so the answer is \boxed{{{answer}}}"


@pytest.mark.parametrize(("accepted", "found"), SAME)
def test_an_answer_in_another_form_is_correct(accepted: str, found: str) -> None:
    assert math_reward(None, [boxed(found)], [[accepted]]) == [1.0]


@pytest.mark.parametrize(("accepted", "found"), DIFFERENT)
def test_a_different_answer_is_incorrect(accepted: str, found: str) -> None:
    assert math_reward(None, [boxed(found)], [[accepted]], answer_timeout=2.0) == [0.0]


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        (r"\boxed{34}", 1.0),
        (r"\boxed{3} or rather \boxed{34}", 1.0),
        (r"\boxed{34} or rather \boxed{3}", 0.0),
        (r"\boxed{3}, \boxed{34}", 1.0),
        (r"\boxed{\boxed{34}}", 1.0),
        (r"\boxed {34}", 1.0),
        ("\\boxed{\n34\n}", 1.0),
        (r"\boxed{\text{\{} 34", 0.0),
        (r"\boxed{34} then \boxed{3", 0.0),
        (r"\boxed{34} then \boxed{}", 0.0),
        ("the answer is 34", 0.0),
        ("$34$", 0.0),
        (r"\boxed34", 0.0),
        (r"$\boxed 34$.", 1.0),
        (r"\fbox{34}", 1.0),
        ("", 0.0),
        (r"<think>\boxed{3}</think> \boxed{34}", 1.0),
        (r"\boxed{34}</think> 34", 0.0),
        (r"\boxed{3}</think> \boxed{34} </think> done", 1.0),
        ("words " * 20_000 + r"</think> \boxed{34}", 1.0),
        (r"\boxed{" * 20_000 + "34", 0.0),
    ],
)
def test_the_answer_is_the_last_box_after_the_first_end_of_thinking(completion: str, reward: float) -> None:
    assert math_reward(None, [completion], [["34"]]) == [reward]


@pytest.mark.parametrize(
    ("completion", "of_last", "of_list"),
    [
        (r"$x = \boxed{1}, \boxed{2}$", 0.0, 1.0),
        (r"$\boxed{1}$ and $\boxed{2}$", 0.0, 1.0),
        (r"\(\boxed{1}\), or \(\boxed{2}\).", 0.0, 1.0),
        (r"\boxed{1}\text{ and }\boxed{2}", 0.0, 1.0),
        (r"\boxed{1};\quad \boxed{2}", 0.0, 1.0),
        (r"\fbox{1},\,\boxed 2.", 0.0, 1.0),
        (r"\boxed{2}, \boxed{1}", 0.0, 1.0),
        (r"not \boxed{3}, but \boxed{1}, \boxed{2}", 0.0, 1.0),
        (r"\boxed{1, \boxed{2}}", 0.0, 0.0),
        (r"\boxed{1} \boxed{2}", 0.0, 0.0),
        (r"\boxed{1}, so \boxed{2}", 0.0, 0.0),
        (r"\boxed{}, \boxed{1,2}", 1.0, 1.0),
        (r"\boxed{3}, \boxed{1,2}", 1.0, 0.0),
        (r"\boxed{1}, \boxed{", 0.0, 0.0),
        (r"\boxed{1}," + " " * 30_000 + r"x\boxed{2}", 0.0, 0.0),
    ],
)
def test_adjacent_boxes_are_one_answer_where_that_is_wanted(completion: str, of_last: float, of_list: float) -> None:
    for options, reward in ({}, of_last), ({"adjacent_boxes": True}, of_list):
        assert math_reward(None, [completion], [["1,2"]], **options) == [reward]
        assert math_reward(None, [rf"\boxed{{4}}, </think>{completion}"], [["1,2"]], **options) == [reward]


def test_an_answer_without_the_required_end_of_thinking_is_incorrect() -> None:
    completions = [r"\boxed{34}", r"thought</think>\boxed{34}"]
    assert math_reward(None, completions, ["34"] * 2, require_think=True) == [0.0, 1.0]
    reward = pickle.loads(pickle.dumps(make_math_reward(require_think=True)))
    assert reward.__name__ == "math_reward"
    assert reward(prompts=["?"] * 2, completions=completions, answer=["34"] * 2, other=[1, 2]) == [0.0, 1.0]


def test_completions_may_be_texts_or_messages_and_the_last_message_counts() -> None:
    messages = [
        [{"role": "assistant", "content": r"\boxed{34}"}],
        [{"role": "assistant", "content": r"\boxed{3}"}, {"role": "assistant", "content": r"\boxed{34}"}],
        [{"role": "assistant", "content": [{"type": "text", "text": r"\boxed{34}"}]}],
        [{"role": "assistant", "content": None}],
        [],
    ]
    assert math_reward(None, messages, [["34"]] * 5) == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert math_reward(None, [], []) == []


@pytest.mark.parametrize("answer", [["5", "34"], ["34"], "34", 34, 34.0, np.array(["34\n"], object), [None, "34"]])
def test_accepted_answers_come_as_text_number_list_or_array(answer: Any) -> None:
    assert math_reward(None, [boxed("34"), boxed("33"), "34"], [answer] * 3) == [1.0, 0.0, 0.0]


def test_accepted_floats_are_the_integers_that_they_hold_and_nan_is_no_answer() -> None:
    assert accepted_answers([142.0, 1e16, 8.7e8, float("nan"), None]) == ("142", "10000000000000000", "870000000")
    assert math_reward(None, [boxed("10^{16}")] * 2, [1e16, float("nan")]) == [1.0, None]


@pytest.mark.parametrize("answer", [[], [""], "  ", None, [None], "$$", r"\text{}", ["\x00\x01"], "1" * 100_000])
def test_the_reward_is_none_exactly_where_no_accepted_answer_can_be_read(answer: Any) -> None:
    completions = [boxed("x^2"), boxed("34"), "no box", boxed("1" * 100_000)]
    assert math_reward(None, completions, [answer] * 4) == [None] * 4
    either = [answer, "x^2"] if isinstance(answer, str) else ["x^2"]
    assert math_reward(None, completions, [either] * 4) == [1, 0, 0, 0]


def test_killed_answers_are_incorrect_and_counted_and_the_rest_is_judged_in_order() -> None:
    metrics, columns = {}, {}
    found = [str(number) if number % 5 else HANG for number in range(10)] + [rf"\frac{{{n}}}{{1}}" for n in range(10)]
    rewards = math_reward(
        None,
        [boxed(answer) for answer in found] + ["no answer"],
        [rf"\frac{{{2 * number}}}{{2}}" for number in [*range(10), *range(0, 20, 2)]] + ["1"],
        answer_timeout=2.0,
        log_metric=metrics.__setitem__,
        log_extra=columns.__setitem__,
    )
    assert rewards == [0, 1, 1, 1, 1] * 2 + [1] + [0] * 10
    assert metrics == {"math_reward/timeouts": 2 / 21, "math_reward/unjudged": 0, "math_reward/no_answer": 1 / 21}
    assert columns == {"final_answer": [*found, None]}


def test_a_storm_of_hostile_answers_ends_in_time_with_nothing_right(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    POOL.close()  # the next one works in this folder
    answers = hostile_answers(1000)
    assert len(set(answers)) == 1000
    start = time.monotonic()
    accepted = [[ATTACKED[row % len(ATTACKED)]] for row in range(1000)]
    rewards = math_reward(None, [*map(boxed, answers)], accepted, answer_timeout=0.3, batch_timeout=8.0)
    assert time.monotonic() - start < 60  # some 150 without the bound of the batch
    assert set(rewards) <= {0.0, None} and not list(tmp_path.iterdir())
    assert math_reward(None, [boxed("x+1")], [["1+x"]]) == [1.0]
    POOL.close()


def test_when_a_batch_times_out_started_answers_are_incorrect_and_waiting_ones_unjudged() -> None:
    shares = {}
    start = time.monotonic()
    completions = [*ENDLESS_HANGS, boxed("x+1")]
    answers = ["1+x"] * len(completions)
    rewards = math_reward(None, completions, answers, batch_timeout=3.0, log_metric=shares.__setitem__)
    assert time.monotonic() - start < 60  # some 225 without the bound of the batch
    counts = Counter(rewards[:-1])
    assert rewards[-1] == 1.0 and set(counts) == {0.0, None}
    assert shares["math_reward/timeouts"] == counts[0.0] / len(rewards)
    assert shares["math_reward/unjudged"] == counts[None] / len(rewards)


def test_a_text_is_brought_into_one_spelling_once_in_a_batch() -> None:
    normalize.cache_clear()
    math_reward(None, [rf"\boxed{{{number}/7}}" for number in range(1, 9)], [r"\frac{1}{7}"] * 8)
    assert normalize.cache_info().misses == 9


def verifier_processes() -> list[psutil.Process]:
    """The server first, then its workers."""
    math_reward(None, [boxed("x+1")], [["1+x"]])
    server = psutil.Process(POOL._server.pid)
    return [server, *server.children(recursive=True)]


def gone(processes: list[int], seconds: float = 8.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = [process for process in psutil.process_iter(["pid", "status"]) if process.pid in processes]
        if all(process.info["status"] == psutil.STATUS_ZOMBIE for process in alive):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; only Linux limits the address space")
def test_the_processes_load_no_torch_and_the_workers_have_little_memory() -> None:
    server, *workers = verifier_processes()
    assert workers
    for process in (server, *workers):
        assert "torch" not in Path(f"/proc/{process.pid}/maps").read_text()
    assert {worker.rlimit(psutil.RLIMIT_AS)[1] for worker in workers} == {2**30}
    assert POOL.judge([(("1",), "2^{2^{34}}")], 1.0, 10.0)[0] in ("wrong", "killed")


def test_a_verifier_that_cannot_start_is_an_error_and_no_reward(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('broken on purpose')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="stopped 3 times"):
        VerifierPool().judge([(("1",), "2")], 1.0, 1.0)


# Without the package's __init__, whose import of TRL takes longer than all that is tested here. No `__main__` guard:
# a caller's script must not run again in the workers.
SCRIPT = f"""
import json, os, sys, time, types
package = sys.modules["trl_real"] = types.ModuleType("trl_real")
package.__path__ = [{str(ROOT / "trl_real")!r}]
from trl_real.rewards.mathematics import math_reward
import psutil
def report(**values):
    pids = [process.pid for process in psutil.Process().children(recursive=True)]
    print(json.dumps(dict(pids=pids, **values)), flush=True)
"""


def start(script: str, folder: Path, *launcher: str) -> subprocess.Popen:
    path = folder / "script.py"
    path.write_text(SCRIPT + script)
    return subprocess.Popen([sys.executable, *launcher, str(path)], stdout=subprocess.PIPE, text=True, cwd=folder)


def test_a_script_that_ends_leaves_no_process(tmp_path: Path) -> None:
    run = start(r'report(rewards=math_reward(None, [r"\boxed{x+1}"], ["1+x"]))', tmp_path)
    output, _ = run.communicate(timeout=300)
    report = json.loads(output)  # one line: the script ran once
    assert report["rewards"] == [1.0] and run.returncode == 0 and len(report["pids"]) >= 2
    assert gone(report["pids"], 1.0)


@pytest.mark.parametrize("batch", [r'["\\boxed{x+1}"]', r'["\\boxed{9^{9^{%d}}}" % n for n in range(9, 99)]'])
def test_a_killed_script_leaves_no_process(tmp_path: Path, batch: str) -> None:
    script = f"""
import threading
math_reward(None, [r"\\boxed{{x+1}}"], ["1+x"])
batch = {batch}
threading.Thread(target=math_reward, args=(None, batch, ["1+x"] * len(batch)), daemon=True).start()
time.sleep(1)
report()
time.sleep(60)
"""
    run = start(script, tmp_path)
    pids = json.loads(run.stdout.readline())["pids"]
    run.kill()
    run.wait()
    assert len(pids) >= 2 and gone(pids)


def test_a_forked_child_has_a_pool_of_its_own(tmp_path: Path) -> None:
    script = r"""
import threading
hangs = ["\\boxed{9^{9^{%d}}}" % n for n in range(9, 11)]
math_reward(None, [r"\boxed{x+1}"], ["1+x"])
# the lock of the pool is held while the process forks
threading.Thread(target=math_reward, args=(None, hangs, ["1"] * 2), kwargs=dict(answer_timeout=1.5)).start()
time.sleep(0.5)
child = os.fork()
report(rewards=math_reward(None, [r"\boxed{x+1}", r"\boxed{x+2}"], ["1+x"] * 2))
sys.exit(0) if child == 0 else os.waitpid(child, 0)
"""
    run = start(script, tmp_path)
    output, _ = run.communicate(timeout=300)
    reports = [json.loads(line) for line in output.splitlines()]
    assert [report["rewards"] for report in reports] == [[1.0, 0.0]] * 2
    assert gone([pid for report in reports for pid in report["pids"]])
