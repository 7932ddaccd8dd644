"""
Reward functions, and how a recipe names them: by a short name (`REWARD_FUNCS`) or a dotted path to an importable one.

Reward models have no name here: build the trainer in Python for them.
"""

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

from torch import nn
from trl.rewards import accuracy_reward, get_soft_overlong_punishment, reasoning_accuracy_reward, think_format_reward

from ..spelling import nearest
from ..verifier.answers import message_text
from ..verifier.gym import reasoning_gym_reward
from .mathematics import make_math_reward, math_reward
from .pooled import pooled


RewardFunc = Callable[..., Sequence[float | None]]


def first_integer_reward(completions: list, answer: list, **kwargs: Any) -> list[float | None]:
    """
    1.0 if the first integer in the completion equals the column `answer`, else 0.0.

    Args:
        completions (`list`):
            Completions, plain or conversational.
        answer (`list[int | str]`):
            The right integer for each completion; `None` gives the completion no reward.
        **kwargs:
            Other columns, unused.
    """
    rewards: list[float | None] = []
    for completion, expected in zip(completions, answer, strict=True):
        if expected is None:
            rewards.append(None)
            continue
        found = re.search(r"-?\d+", message_text(completion))
        # Python does not convert thousands of digits to an integer
        rewards.append(float(found is not None and len(found[0]) <= 1000 and int(found[0]) == int(expected)))
    return rewards


# Options of `math_reward` under each name
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
    "reasoning_gym_reward": pooled(reasoning_gym_reward),
}


# What TRL passes to every reward function besides the columns of the data set
ALWAYS_GIVEN = {"self", "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}
READS_MESSAGES = (accuracy_reward, reasoning_accuracy_reward, think_format_reward)


def resolve_reward_func(name: str, max_completion_length: int | None = None) -> RewardFunc:
    """
    The function that a recipe names in `reward_funcs`: by a key of `REWARD_FUNCS`, `"get_soft_overlong_punishment"`,
    or a dotted path (`"my_module.my_reward"`) to a module in the current folder or an installed package.

    That punishment increases over the last fifth of `max_completion_length` (TRL's script has the same shape, fixed at
    1280 and 256 tokens).
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
    hint = nearest(name, names) or f" Write one of {', '.join(names)}."
    raise ValueError(f"reward_funcs: there is no reward function `{name}`.{hint} Others need a dotted path.")


def check_inputs(name: str, function: RewardFunc, row: dict[str, Any]) -> None:
    """Raises `ValueError` if the reward function with this name cannot be called on rows like this one."""
    if function in READS_MESSAGES and isinstance(row["prompt"], str):
        raise ValueError(f"reward_funcs: {name} reads messages, but the prompts are texts; set prompt_format: chat.")
    column = missing_column(function, row)
    if column is not None:
        hint = " Name it with answer_column." if column == "answer" else ""
        raise ValueError(
            f"reward_funcs: {name} needs a column `{column}`, but the data set has only {', '.join(row)}.{hint}"
        )


def check_columns(train_dataset: Any, reward_funcs: Any) -> None:
    """Raises `ValueError` if the training set of a script has no prompts, or lacks a column of a reward function."""
    columns = getattr(train_dataset, "column_names", None)
    if not isinstance(columns, list) or not columns:  # an unknown stream, or no rows
        return
    proposal = "Rename one with train_dataset.rename_column(...)."
    if "prompt" not in columns:
        raise ValueError(f"train_dataset: it has no column `prompt`, only {', '.join(columns)}. {proposal}")
    for function in reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]:
        is_function = callable(function) and not isinstance(function, nn.Module)  # reward models read no columns
        column = missing_column(function, columns) if is_function else None
        if column is not None:
            name = getattr(function, "__name__", type(function).__name__)
            raise ValueError(
                f"reward_funcs: {name} needs a column `{column}`, but the data set has only {', '.join(columns)}. "
                f"{proposal}"
            )


def missing_column(function: Callable[..., Any], columns: Collection[str]) -> str | None:
    """The first column that a reward function requires and a data set does not have."""
    for parameter in inspect.signature(function).parameters.values():
        is_required = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if is_required and parameter.name not in ALWAYS_GIVEN and parameter.name not in columns:
            return parameter.name
    return None


def _import_reward_func(path: str) -> RewardFunc:
    module_name, _, function_name = path.rpartition(".")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # modules may raise anything when they are imported
        raise ValueError(
            f"reward_funcs: cannot import `{path}` ({type(error).__name__}: {error}). Write module.function, with the "
            "module in the current folder or installed."
        ) from error
    if not callable(function):
        raise ValueError(f"reward_funcs: `{path}` is a {type(function).__name__}, not a function.")
    return cast(RewardFunc, function)
