"""pooled(function): a reward function whose calls are killed when they hang, and that says what went wrong."""

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import judges
from tests.support.trainers import config, logged, trainer
from trl_real.rewards import RewardError, check_inputs, pooled


def rewards(function: Callable[..., Any], *texts: str, **columns: Any) -> tuple[list[float | None], dict[str, float]]:
    metrics: dict[str, float] = {}
    found = function(completions=list(texts), log_metric=metrics.__setitem__, trainer_state=object(), **columns)
    return found, metrics


def test_completions_are_judged_one_by_one_with_the_columns_that_are_named() -> None:
    given = dict(prompts=["a", "b"], completion_ids=[[1], [2]], bonus=[0.5, 10])
    assert rewards(pooled(judges.length, workers=1), "w1", "w22", **given)[0] == [2.5, 13]
    # An asynchronous function gets all columns, and nothing that belongs to this process
    given = dict(prompts=["a"], bonus=[1], log_extra=print)
    assert rewards(pooled(judges.later, workers=1), "w1", **given)[0] == [1.0]


def test_a_failed_call_affects_only_its_completion(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    moody = pooled(judges.moody, timeout=3.0, workers=2)  # a call takes a thousandth of it, or for ever
    texts = ["sleep", "loop", "good", "crash", "exit", "none", f"child {tmp_path / 'pid'}", "raise"]
    with caplog.at_level(logging.WARNING):
        found, metrics = rewards(moody, *texts)
    assert "moody raised an error on 1 of 8 completions: KeyError: 'raise'" in caplog.text
    assert found == [0.0, 0.0, 1.0, 0.0, 0.0, None, 0.0, 0.0]
    assert metrics == {"moody/killed": 5 / 8, "moody/errors": 1 / 8, "moody/unjudged": 0.0}
    child = ["ps", "-o", "stat=", "-p", (tmp_path / "pid").read_text()]
    assert subprocess.run(child, capture_output=True, text=True).stdout.strip()[:1] in ("", "Z")
    assert rewards(moody, "good")[0] == [1.0]


def test_a_failed_call_may_have_no_label_instead() -> None:
    assert rewards(pooled(judges.moody, workers=1, failed=None), "good", "raise")[0] == [1.0, None]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (judges.miscounts, r"miscounts returned \[1.0, 0.0\] for one completion; return a list with one number"),
        (judges.says_yes, r"says_yes returned \['yes'\] for one completion"),
        (judges.raises, "raises raised RuntimeError: no compiler on every completion"),
    ],
)
def test_what_can_never_work_is_an_error(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(RewardError, match=f"^reward_funcs: {message}"):
        rewards(pooled(function, workers=1), "w1", "w2")


def shadowed(completions: list) -> list[float]:
    return [0.0]


GIVEN = shadowed


def shadowed(completions: list) -> list[float]:  # noqa: F811
    return [1.0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda completions: [0.0], "<lambda> has no name that can be imported; write it with `def` at the top"),
        (GIVEN, "shadowed is another function than the given one"),
        (judges.needs_state, "needs_state needs `trainer_state`, which stays in the training process"),
    ],
)
def test_a_function_that_cannot_be_imported_is_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^pooled: .*{message}"):
        pooled(function)


def test_a_function_of_the_script_itself_is_told_to_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges.length, "__module__", "__main__")
    with pytest.raises(ValueError, match="length is in the script that is run, or in a notebook; write it with `def`"):
        pooled(judges.length)


def test_the_columns_that_it_needs_are_checked_as_those_of_the_function() -> None:
    function = pooled(judges.length)
    check_inputs("length", function, {"prompt": "w1", "bonus": 1})
    with pytest.raises(ValueError, match="length needs a column `bonus`"):
        check_inputs("length", function, {"prompt": "w1"})


def test_a_trainer_trains_with_it_and_logs_its_metrics(tmp_path: Path) -> None:
    made = trainer(tmp_path, reward_funcs=pooled(judges.moody, workers=1), args=config(tmp_path, max_steps=1))
    made.train()
    assert logged(made, "rewards/moody/mean") == [1.0] and logged(made, "moody/killed") == [0.0]
