"""
What would fail late or in silence, found before a weight is read: trackers that are not there, reward functions of
which none says what is right, and fewer prompts than one generation takes.

In: the arguments of a trainer. Out: nothing, or a `ValueError` that names the field and says what to write. Left out:
settings that work but are hardly meant (`advice`).
"""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from transformers.integrations import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations
from trl import GRPOConfig

from ...compat import get_callable_name, get_config_model_id
from ...objective.labels import make_label_rule
from ...objective.own import GroupFunction, load_function
from ...spelling import nearest
from ..config import REALConfig


# What the trackers are called on a package index, where it is not their own name
PACKAGES = {"azure_ml": "azureml-core azureml-mlflow", "comet_ml": "comet-ml"}


def check_arguments(args: REALConfig, reward_funcs: Any, train_dataset: Any, rollout_func: Any = None) -> None:
    """
    Runs all checks of this module.

    Args:
        args ([`REALConfig`]):
            Configuration.
        reward_funcs (`Any`):
            As [`REALTrainer`] takes them; `None` where environments bring their own, which is seen later.
        train_dataset (`Any`), rollout_func (`Any`, *optional*):
            As [`REALTrainer`] takes them.
    """
    check_trackers(args.report_to)
    if args.mismatch_limit is not None and not args.use_vllm and rollout_func is None:
        raise ValueError(
            "`mismatch_limit` compares the model with the engine that samples, and here the model samples by itself. "
            "Leave it out, or take use_vllm=True."
        )
    if reward_funcs is not None:
        check_rewards(args, reward_names(reward_funcs))
    if hasattr(train_dataset, "__len__"):
        check_prompts_suffice(args, len(train_dataset))


def check_trackers(report_to: Iterable[str]) -> None:
    """Raises `ValueError` if a tracker of `report_to` is not known or not installed."""
    installed = get_available_reporting_integrations()
    for name in report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            known = sorted(INTEGRATION_TO_CALLBACK)
            raise ValueError(
                f"report_to: there is no tracker {name}.{nearest(name, known)} Write none, all (that are installed), "
                f"or some of {', '.join(known)}."
            )
        # Flyte is the one that Transformers does not look for
        if name not in installed and name != "flyte":
            raise ValueError(
                f"report_to: {name} is not installed. Run `pip install {PACKAGES.get(name, name)}`, or write "
                f"--report_to {' '.join(set(report_to).intersection(installed)) or 'none'}."
            )


def check_rewards(args: GRPOConfig, names: list[str]) -> None:
    """Raises `ValueError` if nothing says which reward function decides, or if there are not as many weights."""
    if isinstance(args, REALConfig):
        make_label_rule(names, args.label_threshold, args.label_reward_func, label_function(args))
    if args.reward_weights is not None and len(args.reward_weights) != len(names):
        raise ValueError(
            f"reward_weights: {len(args.reward_weights)} weights for {len(names)} reward functions "
            f"({', '.join(names)}); write one for each, or leave it out."
        )


def label_function(args: REALConfig) -> GroupFunction | None:
    """The user's own labels, if there are any."""
    return None if args.label_func is None else load_function("label_func", args.label_func)


def reward_names(reward_funcs: Any) -> list[str]:
    """The names under which the trainer logs reward functions, models and names of models."""
    several = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
    return [_reward_name(each) for each in several]


def _reward_name(reward: Any) -> str:
    if isinstance(reward, str):
        return reward.split("/")[-1]
    if isinstance(reward, nn.Module):
        return get_config_model_id(reward.config).split("/")[-1]
    return get_callable_name(reward)


def check_prompts_suffice(args: GRPOConfig, prompts: int) -> None:
    """Raises `ValueError` if there are fewer prompts than one generation takes: no step would be made."""
    taken = prompts_per_generation(args)
    if prompts < taken:
        raise ValueError(
            f"train_dataset: it has {prompts} prompts, and one generation takes {taken} (per_device_train_batch_size="
            f"{args.per_device_train_batch_size} x {args.world_size} processes x steps_per_generation="
            f"{args.steps_per_generation} / num_generations={args.num_generations}), so no step would be made. "
            f"{_smaller_generation(args, prompts)}"
        )


def prompts_per_generation(args: GRPOConfig) -> int:
    """Prompts that are sampled at once, over all processes."""
    return args.generation_batch_size // args.num_generations


def _smaller_generation(args: GRPOConfig, prompts: int) -> str:
    """The largest generation that these prompts are enough for."""
    group, rows, accumulation = (
        args.num_generations,
        args.per_device_train_batch_size,
        args.gradient_accumulation_steps,
    )
    at_once = rows * args.world_size
    for steps in range(args.steps_per_generation - 1, 0, -1):
        cut = at_once * min(steps, accumulation) % group == 0 and not (steps % accumulation and accumulation % steps)
        if cut and at_once * steps <= prompts * group:
            return f"Write steps_per_generation={steps}, or give it more prompts."
    unit = math.lcm(group, args.world_size) // args.world_size  # fewest rows of a process with whole groups
    if unit * args.world_size > prompts * group:
        return f"Give it at least {unit * args.world_size // group}."
    largest = min(max(rows, unit), prompts * group // args.world_size) // unit * unit
    return (
        f"Write per_device_train_batch_size={largest} with gradient_accumulation_steps=1 and steps_per_generation=1, "
        "or give it more prompts."
    )


def check_rollout_func(rollout_func: Callable | None) -> Callable | None:
    """The same rollout function, with a clear error where TRL would fail on a completion without tokens."""
    if rollout_func is None:
        return None

    @functools.wraps(rollout_func)
    def checked(prompts: list, trainer: Any) -> dict[str, Any]:
        output = rollout_func(prompts, trainer)
        for index, ids in enumerate(output.get("completion_ids", [])):
            if len(ids) == 0:
                raise ValueError(
                    f"`rollout_func` returned an empty completion for prompt {index}. Return at least one token in "
                    "`completion_ids`, for example the end-of-sequence token; an `env_mask` of 0 keeps it out of the "
                    "loss."
                )
        return output

    return checked
