"""Checks of a trainer's arguments before any weight is read, of what would otherwise fail late or silently."""

import functools
import math
from collections.abc import Callable, Iterable, Sized
from typing import Any

from peft import PeftType
from torch import nn
from transformers.integrations import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations
from trl import GRPOConfig

from ..compat import get_callable_name, get_config_model_id
from ..rewards.functions import check_columns
from ..spelling import nearest
from .batches import batch_numbers
from .config import ValidationConfig


PACKAGES = {"azure_ml": "azureml-core azureml-mlflow", "comet_ml": "comet-ml"}  # of trackers with another name
TASK_IDS = "it needs `task_ids`, which TRL does not pass"
OTHER_OUTPUT = "it replaces the model's output, which TRL's language model head needs"
# Adapters whose gradient would depend on the batching, or that TRL's forward cannot run. By name, since an older PEFT
# does not have all of them.
REFUSED_ADAPTERS = {
    "MULTITASK_PROMPT_TUNING": TASK_IDS,
    "POLY": TASK_IDS,
    "CPT": OTHER_OUTPUT,
    "SHADOW": OTHER_OUTPUT,
    "ADAPTION_PROMPT": OTHER_OUTPUT,
    "LILY": "it weights its experts by all tokens of a batch, so that rows and their padding affect each other",
    "PVERA": "it draws random numbers in every forward, and a score compares two forwards of the same rollout",
    "XLORA": "it weights its adapters by the entire row, so that a token's probability depends on those after it",
}


def check_arguments(args: Any, reward_funcs: Any, train_dataset: Any, rollout_func: Any = None) -> None:
    """
    Runs the checks of this module, except that of adapters, on what [`REALTrainer`] takes; `reward_funcs` is `None` if
    environments, which exist only later, return the rewards.
    """
    check_trackers(args.report_to)
    if args.mismatch_limit is not None and not args.use_vllm and rollout_func is None:
        raise ValueError(
            "`mismatch_limit` compares the model with the engine that samples, and here the model itself samples. "
            "Omit it, or write use_vllm=True."
        )
    # A `rollout_func` may return more columns
    check_columns(train_dataset, reward_funcs if rollout_func is None else None)
    if reward_funcs is not None:
        check_rewards(args, reward_names(reward_funcs))
    if isinstance(train_dataset, Sized):
        check_prompts_suffice(args, len(train_dataset))


def check_trackers(report_to: Iterable[str]) -> None:
    """Raises `ValueError` if a tracker of `report_to` is unknown or not installed."""
    installed = get_available_reporting_integrations()
    for name in report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            known = sorted(INTEGRATION_TO_CALLBACK)
            raise ValueError(
                f"report_to: there is no tracker {name}.{nearest(name, known)} Write none, all (that are installed), "
                f"or some of {', '.join(known)}."
            )
        if name not in installed and name != "flyte":  # Transformers does not check whether Flyte is installed
            raise ValueError(
                f"report_to: {name} is not installed. Run `pip install {PACKAGES.get(name, name)}`, or set "
                f"`report_to` to {' '.join(set(report_to).intersection(installed)) or 'none'}."
            )


def check_rewards(args: ValidationConfig, names: list[str]) -> None:
    """Raises `ValueError` if nothing specifies which reward function decides, or if there are not as many weights."""
    args.label_rule(names)
    if args.reward_weights is not None and len(args.reward_weights) != len(names):
        raise ValueError(
            f"reward_weights: {len(args.reward_weights)} weights for {len(names)} reward functions "
            f"({', '.join(names)}); write one for each, or omit it."
        )


def reward_names(reward_funcs: Any) -> list[str]:
    """The names under which the trainer logs reward functions, models and names of models."""
    several = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
    return [_reward_name(each) for each in several]


def _reward_name(reward: Any) -> str:
    if isinstance(reward, nn.Module):
        reward = get_config_model_id(reward.config)  # pyright: ignore[reportArgumentType] a reward model of Transformers
    return reward.split("/")[-1] if isinstance(reward, str) else get_callable_name(reward)


def check_prompts_suffice(args: GRPOConfig, prompts: int) -> None:
    """Raises `ValueError` if there are fewer prompts than one generation takes: no step would be made."""
    needed = prompts_per_generation(args)
    if prompts < needed:
        raise ValueError(
            f"train_dataset: it has {prompts} prompts, and one generation takes {needed} (per_device_train_batch_size="
            f"{args.per_device_train_batch_size} x {args.world_size} processes x steps_per_generation="
            f"{args.steps_per_generation} / num_generations={args.num_generations}), so no step would be made. "
            f"{_smaller_generation(args, prompts)}"
        )


def prompts_per_generation(args: GRPOConfig) -> int:
    """Prompts that are sampled at once, over all processes."""
    group, rows, _, steps = batch_numbers(args)
    return rows * steps // group


def _smaller_generation(args: GRPOConfig, prompts: int) -> str:
    """The largest generation for which there are enough prompts."""
    group, at_once, accumulation, per_generation = batch_numbers(args)
    for steps in range(per_generation - 1, 0, -1):
        whole = at_once * min(steps, accumulation) % group == 0 and not (steps % accumulation and accumulation % steps)
        if whole and at_once * steps <= prompts * group:
            return f"Write steps_per_generation={steps}, or add prompts."
    unit = math.lcm(group, args.world_size) // args.world_size  # fewest rows of a process with complete groups
    if unit * args.world_size > prompts * group:
        return f"Give it at least {unit * args.world_size // group} prompts."
    rows = args.per_device_train_batch_size
    largest = min(max(rows, unit), prompts * group // args.world_size) // unit * unit
    return (
        f"Write per_device_train_batch_size={largest} with gradient_accumulation_steps=1 and steps_per_generation=1, "
        "or add prompts."
    )


def check_adapters(model: Any, peft_config: Any) -> None:
    """Raises `ValueError` if REAL cannot train an adapter that the model has, or the one that is to be added."""
    for config in [peft_config, *getattr(model, "peft_config", {}).values()]:
        if config is not None and (reason := REFUSED_ADAPTERS.get(kind := PeftType(config.peft_type).value)):
            raise ValueError(
                f"`peft_config`: REAL cannot train {type(config).__name__} ({kind}): {reason}. Write LoraConfig(...), "
                "or use another of the adapters in docs/models.md."
            )


def check_rollout_func(rollout_func: Callable | None) -> Callable | None:
    """The same rollout function, with a clear error for a completion without tokens, on which TRL would fail."""
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
