"""Reward functions, as TRL calls them: one reward per completion, `None` for no label."""

from .calling import RewardError
from .functions import (
    REWARD_FUNCS,
    RewardFunc,
    check_inputs,
    first_integer_reward,
    reasoning_gym_reward,
    resolve_reward_func,
)
from .mathematics import make_math_reward, math_reward
from .pooled import pooled


__all__ = [
    "REWARD_FUNCS",
    "RewardError",
    "RewardFunc",
    "check_inputs",
    "first_integer_reward",
    "make_math_reward",
    "math_reward",
    "pooled",
    "reasoning_gym_reward",
    "resolve_reward_func",
]
