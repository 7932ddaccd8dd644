"""The held-out set of a recipe for an evaluation: its prompts, sampling, reward functions as a judge, and models."""

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

from datasets import Dataset
from trl import ModelConfig

from ..data.loading import EVAL_FIELDS
from ..evaluation.problems import HeldOut, ProblemSet
from ..rewards.functions import MATH_REWARDS, check_inputs, resolve_reward_func
from ..validation.config import ValidationConfig
from .dry_run import build_planned
from .inputs import load_inputs
from .launch import read_prepared
from .options import RecipeArguments


SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def load_held_out(name: str, recipes: Path) -> HeldOut:
    """Reads a recipe, by its path or by its name in the folder `recipes`, and its held-out set."""
    options, classes = read_prepared(["--config", name], recipes)
    recipe, training, model = build_planned(options, classes, 1)
    if training.generation_kwargs:
        raise ValueError(f"config: evaluation does not support the generation_kwargs of {name}; remove them.")
    rows = _load_rows(recipe, training, model)
    for function in recipe.reward_funcs:
        check_inputs(function, resolve_reward_func(function, training.max_completion_length), rows[0])
    prompts = [row.pop("prompt") for row in rows]
    stem = Path(name).stem
    return HeldOut(
        ProblemSet(stem, stem, prompts, [_plain_columns(row) for row in rows]),
        _make_judge(recipe, training, options),
        _settings(training, model),
    )


def _load_rows(recipe: RecipeArguments, training: ValidationConfig, model: ModelConfig) -> list[dict[str, Any]]:
    """The rows that the training evaluates on; `eval_dataset_name` is read without the training set."""
    training.eval_on_start = True
    if recipe.eval_dataset_name is None:
        test = load_inputs(recipe, training, model, trains=False).test
    else:
        training.eval_on_start, training.eval_strategy = False, "no"
        changes: dict[str, Any] = {"dataset_name": recipe.eval_dataset_name}
        changes |= {"dataset_train_split": recipe.eval_dataset_split, "eval_dataset_name": None}
        changes |= {"dataset_config": None, "dataset_size": None, "test_size": None}
        changes["decontaminate"] = []  # which is for training sets: a benchmark would remove itself
        eval_set = dataclasses.replace(recipe, **changes)
        test = load_inputs(eval_set, training, model, EVAL_FIELDS, trains=False).train
    if not isinstance(test, Dataset):
        raise ValueError("dataset_streaming: a streamed held-out set may have no end; do not stream it.")
    return cast(list[dict[str, Any]], list(test))


def _make_judge(recipe: RecipeArguments, training: ValidationConfig, options: dict[str, Any]) -> dict[str, Any]:
    if len(recipe.reward_funcs) == 1 and recipe.reward_funcs[0] in MATH_REWARDS:
        return dict(MATH_REWARDS[recipe.reward_funcs[0]])
    # GRPOConfig has no fields for labels
    labels = {name: options.get(name) for name in ("label_threshold", "label_reward_func")}
    weights = {"reward_funcs": recipe.reward_funcs, "reward_weights": training.reward_weights}
    return weights | labels | {"max_completion_length": training.max_completion_length}


def _settings(training: ValidationConfig, model: ModelConfig) -> dict[str, Any]:
    settings: dict[str, Any] = {name: getattr(training, name) for name in SAMPLING}
    settings["max_new_tokens"] = training.max_completion_length
    settings["samples"] = training.num_generations_eval or training.num_generations
    settings["chat_template_kwargs"] = training.chat_template_kwargs
    made = [Path(str(training.output_dir)) / part for part in ("merged", ".")]
    made = [path for path in made if (path / "config.json").exists() or (path / "adapter_config.json").exists()]
    revision = "" if model.model_revision in (None, "main") else f"@{model.model_revision}"
    settings["models"] = [f"{model.model_name_or_path}{revision}", *map(str, made[:1])]
    return settings


def _plain_columns(row: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(row)
    except TypeError as error:
        raise ValueError(
            f"config: a column of the held-out set cannot be stored ({error}), such as images."
        ) from error
    return row
