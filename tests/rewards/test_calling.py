"""What is wrong with a reward function is said by its name, in training and in evaluation."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from tests.support.trainers import config, even_start, trainer
from trl_real.rewards import RewardError
from trl_real.rewards.calling import call_reward, checked


TEXTS, CHATS = ["w1", "w2"], [[{"role": "assistant", "content": text}] for text in ("w1", "w2")]


def reads_messages(completions: list, **kwargs: Any) -> list[float]:
    return [float(len(completion[0]["content"])) for completion in completions]


def reads_texts(completions: list, **kwargs: Any) -> list[float]:
    return [float(completion.startswith("w")) for completion in completions]


def returns(value: Any) -> Callable[..., Any]:
    return lambda completions, **kwargs: value


@pytest.mark.parametrize("value", [[1, 0.5], (True, None), np.array([1.0, 0.0]), torch.ones(2), iter([1.0, 0.0])])
def test_one_number_for_each_completion_passes(value: Any) -> None:
    assert len(call_reward(returns(value), "mine", {"completions": TEXTS})) == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["1", "0"], r"mine returned '1' \(str\) for completion 0 .*; return a list with one number, or None"),
        ([0.0, [1.0]], r"mine returned \[1.0\] \(list\) for completion 1"),
        ([1.0], r"mine returned 1 rewards, \[1.0\] .* for each of the 2 completions"),
        (1.0, r"mine returned 1.0 \(float\); return a list"),
        (None, r"mine returned None \(NoneType\); return a list"),
        ("yes", r"mine returned 'yes' \(str\); return a list"),
    ],
)
def test_the_error_for_anything_else_names_the_function_and_the_value(value: Any, message: str) -> None:
    with pytest.raises(RewardError, match=f"^reward_funcs: {message}"):
        call_reward(returns(value), "mine", {"completions": TEXTS})


@pytest.mark.parametrize(
    ("function", "completions", "message"),
    [
        (reads_messages, TEXTS, "mine failed with TypeError.*set prompt_format: chat"),
        (reads_texts, CHATS, "mine failed with AttributeError.*set prompt_format: plain"),
    ],
)
def test_the_wrong_kind_of_completions_is_named(function: Callable, completions: list, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        call_reward(function, "mine", {"completions": completions})


def test_an_exception_keeps_its_type_and_names_the_function() -> None:
    with pytest.raises(ZeroDivisionError) as error:
        call_reward(lambda completions: 1 / 0, "mine", {"completions": TEXTS})
    assert "reward function mine" in error.value.__notes__[0]


def test_asynchronous_functions_are_checked_and_get_every_column() -> None:
    async def judge(completions: list, **columns: Any) -> list[float]:
        await asyncio.sleep(0)
        return columns["answer"]

    trained = checked(judge, "mine", is_async=True)
    for call in (partial(call_reward, judge, "mine"), lambda given: asyncio.run(trained(**given))):
        assert call({"completions": TEXTS, "answer": [1.0, 0.0]}) == [1.0, 0.0]
        with pytest.raises(RewardError, match="mine returned 'yes'"):
            call({"completions": TEXTS, "answer": "yes"})


def test_the_trainer_names_the_function_and_keeps_it_as_it_was_given(tmp_path: Path) -> None:
    made = trainer(tmp_path, reward_funcs=[even_start, reads_messages], args=config(tmp_path, label_threshold=0.5))
    with pytest.raises(RewardError, match="reads_messages failed with TypeError"):
        made.train()
    assert made.reward_funcs == [even_start, reads_messages]


def needs_tests(completions: list, tests: list) -> list[float]:
    return [1.0 for _ in completions]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["question"], "train_dataset: it has no column `prompt`, only question. Rename one with"),
        (["prompt", "answer"], "reward_funcs: needs_tests needs a column `tests`, .* only prompt, answer. Rename one"),
    ],
)
def test_a_missing_column_fails_before_anything_is_loaded(tmp_path: Path, columns: list[str], message: str) -> None:
    data = Dataset.from_dict({name: ["w1"] for name in columns})
    args = config(tmp_path, label_reward_func="needs_tests")
    with pytest.raises(ValueError, match=f"^{message}"):
        trainer(tmp_path, train_dataset=data, reward_funcs=[even_start, needs_tests], args=args)
