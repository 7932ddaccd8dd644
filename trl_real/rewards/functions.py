"""
Reward functions, and the way a recipe names them.

In: what TRL hands every reward function: `prompts`, `completions` (texts, or lists of messages) and the data set's
columns as keyword arguments. Out: one `float` per completion, or `None` where nothing can be judged.

A recipe names a function by its short name (`REWARD_FUNCS`) or by a dotted path to any importable function. Left out:
reward models; build the trainer in Python for those.
"""

import difflib
import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from trl.rewards import (
    accuracy_reward,
    get_soft_overlong_punishment,
    reasoning_accuracy_reward,
    think_format_reward,
)

from ..verifier.answers import message_text
from .mathematics import make_math_reward, math_reward


RewardFunc = Callable[..., list[float | None]]


def first_integer_reward(completions: list, answer: list, **kwargs: Any) -> list[float | None]:
    """
    1.0 where the first integer in the completion equals the column `answer`, else 0.0.

    Args:
        completions (`list`):
            Completions, plain or conversational.
        answer (`list[int | str]`):
            The right integer of each completion's prompt; `None` gives the completion no reward.
        **kwargs:
            Other columns, unused.
    """
    rewards: list[float | None] = []
    for completion, expected in zip(completions, answer, strict=True):
        found = re.search(r"-?\d+", message_text(completion))
        # Python does not read a number of thousands of digits, and no answer is one
        readable = found is not None and len(found[0]) <= 1000
        rewards.append(None if expected is None else float(readable and int(found[0]) == int(expected)))
    return rewards


@cache
def _reasoning_gym_scorer(task: str) -> Callable[[str, dict], float]:
    import reasoning_gym

    return reasoning_gym.get_score_answer_fn(task)


def reasoning_gym_reward(completions: list, answer: list[str], metadata: list[str], **kwargs: Any) -> list[float]:
    """
    The score, in [0, 1], that the Reasoning Gym task itself gives: to the text in the last `<answer>` tag of the
    completion, or to the whole completion where it has no such tag. Some scorers call `eval()` on it: see SECURITY.md.

    Args:
        completions (`list`):
            Completions, plain or conversational.
        answer (`list[str]`):
            The task's own answer, as [`~trl_real.data.loading.load_prompts`] puts it into the column.
        metadata (`list[str]`):
            The task's entry as JSON, as [`~trl_real.data.loading.load_prompts`] puts it into the column.
        **kwargs:
            Other columns, unused.
    """
    rewards = []
    for completion, expected, entry in zip(completions, answer, metadata, strict=True):
        text = message_text(completion)
        tagged = re.findall(r"<answer>(.*?)</answer>", text, flags=re.DOTALL)
        entry = {"answer": expected, "metadata": json.loads(entry)}
        scorer = _reasoning_gym_scorer(entry["metadata"]["source_dataset"])
        try:
            rewards.append(float(scorer((tagged[-1] if tagged else text).strip(), entry)))
        except Exception:  # some tasks' scorers raise whatever int() or eval() raises on an answer they cannot read
            rewards.append(0.0)
    return rewards


# Of each name for the verifier, what it sets
MATH_REWARDS = {
    "math_reward": {"require_think": False},
    "math_reward_think": {"require_think": True},
    "math_reward_boxes": {"require_think": False, "adjacent_boxes": True},
    "math_reward_think_boxes": {"require_think": True, "adjacent_boxes": True},
}

REWARD_FUNCS: dict[str, RewardFunc] = {
    "accuracy_reward": accuracy_reward,
    "reasoning_accuracy_reward": reasoning_accuracy_reward,
    "think_format_reward": think_format_reward,
    **{name: make_math_reward(**options) for name, options in MATH_REWARDS.items()},
    "math_reward": math_reward,
    "first_integer_reward": first_integer_reward,
    "reasoning_gym_reward": reasoning_gym_reward,
}


# What TRL hands to every reward function beside the data set's columns
GIVEN = {"self", "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}
READS_MESSAGES = (accuracy_reward, reasoning_accuracy_reward, think_format_reward)


def resolve_reward_func(name: str, max_completion_length: int | None = None) -> RewardFunc:
    """
    Finds the function that a recipe names in `reward_funcs`.

    Args:
        name (`str`):
            A key of `REWARD_FUNCS`, `"get_soft_overlong_punishment"`, or a dotted path (`"my_module.my_reward"`) that
            is looked up from the current folder and the installed packages.
        max_completion_length (`int`, *optional*):
            Length for `"get_soft_overlong_punishment"`, which fades in over the last fifth of it (TRL's own script has
            the same shape, fixed at 1280 and 256 tokens).

    Returns:
        `Callable`: the reward function.
    """
    if name in REWARD_FUNCS:
        return REWARD_FUNCS[name]
    if name == "get_soft_overlong_punishment":
        if not max_completion_length:
            raise ValueError("reward_funcs: get_soft_overlong_punishment needs max_completion_length to be set.")
        return get_soft_overlong_punishment(max_completion_length, max(1, max_completion_length // 5))
    if "." in name:
        return _import_reward_func(name)
    names = [*REWARD_FUNCS, "get_soft_overlong_punishment"]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(names)}."
    raise ValueError(f"reward_funcs: there is no reward function `{name}`; {hint} Others need a dotted path.")


def check_inputs(name: str, function: RewardFunc, row: dict[str, Any]) -> None:
    """
    Raises `ValueError` if a reward function could not be called on the rows of a data set.

    Args:
        name (`str`):
            Name of the function in the recipe.
        function (`Callable`):
            The reward function.
        row (`dict`):
            A row of the data set.
    """
    if function in READS_MESSAGES and isinstance(row["prompt"], str):
        raise ValueError(f"reward_funcs: {name} reads messages, but the prompts are texts; set prompt_format: chat.")
    for parameter in inspect.signature(function).parameters.values():
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and parameter.name not in GIVEN | set(row):
            hint = " Name it with answer_column." if parameter.name == "answer" else ""
            raise ValueError(
                f"reward_funcs: {name} needs a column `{parameter.name}`, but the data set has only {', '.join(row)}."
                f"{hint}"
            )


def _import_reward_func(path: str) -> RewardFunc:
    module_name, _, function_name = path.rpartition(".")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # whatever the module raises while it is read
        raise ValueError(
            f"reward_funcs: cannot import `{path}` ({type(error).__name__}: {error}). Write module.function, with the "
            "module in the current folder or installed."
        ) from error
    if not callable(function):
        raise ValueError(f"reward_funcs: `{path}` is a {type(function).__name__}, not a function.")
    return function
