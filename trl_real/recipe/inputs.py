"""The reward functions and data sets that a recipe names, ready for a trainer."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from datasets import Dataset
from transformers import AutoTokenizer
from trl import ModelConfig

from ..data.loading import (
    EVAL_FIELDS,
    TEST_FIELDS,
    TRAIN_FIELDS,
    AnyDataset,
    Fields,
    hold_out,
    hub_or_cache,
    load_prompts,
)
from ..data.mathematics import CleaningReport, load_math
from ..evaluation.trained_on import write_note
from ..rewards.functions import check_inputs, resolve_reward_func
from ..validation.arguments import check_prompts_suffice, check_rewards, reward_names
from ..validation.config import ValidationConfig
from .batch import Batch
from .options import RecipeArguments


Sets = tuple[AnyDataset, AnyDataset | None, dict[str, CleaningReport]]  # train, test, and what was removed from them


@dataclass
class Inputs:
    """The inputs of a trainer besides the model and its arguments."""

    reward_funcs: list[Any]
    train: AnyDataset
    test: AnyDataset | None
    reports: dict[str, CleaningReport]  # what was removed from "train" and "eval"; empty if they are not cleaned
    origin: tuple[str, list[str], str]  # the training set, the benchmarks removed from it, and the model

    def write_reports(self, folder: Path) -> Iterator[str]:
        """Lists the removed rows in `folder`, and records the training data there; yields the counts as text."""
        write_note(folder, *self.origin)
        for part, report in self.reports.items():
            path = folder / f"removed_{part}.jsonl"
            report.write(path)
            yield f"{report.summary()}\n  removed rows are listed in {path}"


def load_inputs(
    recipe: RecipeArguments,
    training: ValidationConfig,
    model: ModelConfig,
    fields: Fields = TRAIN_FIELDS,
    trains: bool = True,
) -> Inputs:
    """
    Finds the reward functions, loads the data sets and checks that the functions can be called on the rows.

    `fields` are the options that errors about the training set name. If it `trains`, the training set must be large
    enough for one generation.
    """
    if recipe.dataset_name is None:
        raise ValueError("dataset_name: write a file, a folder, a hub id, or reasoning_gym:<task>.")
    functions = {name: resolve_reward_func(name, training.max_completion_length) for name in recipe.reward_funcs}
    evaluates = training.eval_strategy != "no" or training.eval_on_start
    with training.main_process_first(desc="loading the data set"):
        if recipe.dataset_format == "math":
            train, test, reports = _load_math_sets(recipe.dataset_name, recipe, training, model, evaluates, fields)
        else:
            train, test, reports = _load_prompt_sets(recipe.dataset_name, recipe, evaluates, fields)
    check_rewards(training, reward_names(list(functions.values())))
    if trains:
        _check_size(recipe, training, train)
    for name, function in functions.items():
        for rows in (train, test):
            if rows is not None:
                check_inputs(name, function, next(iter(rows)))
    origin = (recipe.dataset_name, recipe.decontaminate, str(model.model_name_or_path))
    return Inputs(list(functions.values()), train, test, reports, origin)


def _check_size(recipe: RecipeArguments, training: ValidationConfig, train: AnyDataset) -> None:
    """Raises `ValueError` if the training set is smaller than one generation; the length of a stream is not known."""
    if not isinstance(train, Dataset):
        return
    generation, step = recipe.prompts_per_generation, recipe.prompts_per_step
    if generation and step and len(train) < generation:
        raise ValueError(
            f"prompts_per_generation: {generation} prompts are sampled at once, but the training set has only "
            f"{len(train)}, so no step would be made. {_propose_batch(training, generation // step, len(train))}"
        )
    check_prompts_suffice(training, len(train))


def _propose_batch(training: ValidationConfig, steps: int, prompts: int) -> str:
    """The largest batch with as many steps per generation for which these prompts suffice."""
    group = cast(int, training.num_generations)
    for per_step in range(prompts // steps, 0, -1):
        with suppress(ValueError):
            Batch(per_step * steps, per_step, group, training.per_device_train_batch_size, training.world_size).check()
            return f"Write --prompts_per_generation {per_step * steps} --prompts_per_step {per_step}, or less."
    return "Use more prompts, or fewer at once with a smaller per_device_train_batch_size."


def _load_prompt_sets(name: str, recipe: RecipeArguments, evaluates: bool, fields: Fields) -> Sets:
    load = partial(
        load_prompts,
        prompt_format=recipe.prompt_format,
        prompt_column=recipe.prompt_column,
        answer_column=recipe.answer_column,
        system_prompt=recipe.system_prompt,
    )
    eval_name = recipe.eval_dataset_name if evaluates else None
    train, test = load(
        name,
        config=recipe.dataset_config,
        train_split=recipe.dataset_train_split,
        test_split=recipe.dataset_test_split if evaluates and eval_name is None else None,
        test_size=recipe.test_size,
        split_seed=recipe.split_seed,
        size=recipe.dataset_size,
        streaming=recipe.dataset_streaming,
        fields=fields,
    )
    if eval_name is not None:
        test, _ = load(eval_name, train_split=recipe.eval_dataset_split, test_split=None, fields=EVAL_FIELDS)
    return train, test, {}


def _load_math_sets(
    name: str, recipe: RecipeArguments, training: ValidationConfig, model: ModelConfig, evaluates: bool, fields: Fields
) -> Sets:
    load = partial(load_math, verify=recipe.verify_answers)
    if recipe.max_prompt_tokens:
        trusted = training.trust_remote_code
        with hub_or_cache():
            tokenizer = AutoTokenizer.from_pretrained(model.model_name_or_path, trust_remote_code=trusted)
        load = partial(load, tokenizer=tokenizer, max_prompt_tokens=recipe.max_prompt_tokens)
    config = recipe.dataset_config
    train, report = load(name, recipe.dataset_train_split, config, decontaminate=recipe.decontaminate, fields=fields)
    test, reports = None, {"train": report}
    if recipe.test_size is not None:
        train, test = hold_out(train, recipe.test_size, recipe.split_seed)
    if recipe.dataset_size is not None:
        train = train.take(recipe.dataset_size)
    if not evaluates:
        return train, None, reports
    if recipe.eval_dataset_name is not None:
        test, reports["eval"] = load(recipe.eval_dataset_name, recipe.eval_dataset_split, fields=EVAL_FIELDS)
    elif test is None:
        test, reports["eval"] = load(name, recipe.dataset_test_split, config, fields=TEST_FIELDS)
    return train, test, reports
