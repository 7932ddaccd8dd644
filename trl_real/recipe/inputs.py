"""
The reward functions and data sets that a recipe names, ready for a trainer.

In: the options of a recipe. Out: functions, a training set, a held-out set or none, and what cleaning removed. Left
out: how data sets are read and cleaned (`trl_real.data.loading`, `trl_real.data.mathematics`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from transformers import AutoTokenizer
from trl import GRPOConfig, ModelConfig

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
from ..rewards.functions import RewardFunc, check_inputs, resolve_reward_func
from .options import RecipeArguments


@dataclass
class Inputs:
    """
    What a trainer gets beside the model and its arguments.

    Args:
        reward_funcs (`list[RewardFunc]`):
            The reward functions.
        train (`Dataset`), test (`Dataset`, *optional*):
            Prompts to train on and to evaluate on.
        reports (`dict[str, CleaningReport]`, *optional*):
            What was removed from `"train"` and `"eval"`; empty for data sets that are taken as they are.
        origin (`tuple`, *optional*):
            Name of the training set, what it was decontaminated of, and the model that is trained.
    """

    reward_funcs: list[RewardFunc]
    train: AnyDataset
    test: AnyDataset | None
    reports: dict[str, CleaningReport] = field(default_factory=dict)
    origin: tuple[str, list[str], str] = ("", [], "")

    def write_reports(self, folder: Path) -> Iterator[str]:
        """Lists the removed rows in `folder`; returns the counts as text. Leaves word there of the training data."""
        write_note(folder, *self.origin)
        for part, report in self.reports.items():
            path = folder / f"removed_{part}.jsonl"
            report.write(path)
            yield f"{report.summary()}\n  removed rows are listed in {path}"


def load_inputs(
    recipe: RecipeArguments, training: GRPOConfig, model: ModelConfig, fields: Fields = TRAIN_FIELDS
) -> Inputs:
    """
    Finds the reward functions, loads the data sets and checks that the ones can be called on the others. Errors about
    the training set name `fields`.
    """
    functions = {name: resolve_reward_func(name, training.max_completion_length) for name in recipe.reward_funcs}
    evaluates = training.eval_strategy != "no" or training.eval_on_start
    with training.main_process_first(desc="loading the data set"):
        load = _load_math_sets if recipe.dataset_format == "math" else _load_prompt_sets
        inputs = load(recipe, training, model, evaluates, fields)
    inputs.reward_funcs = list(functions.values())
    inputs.origin = (recipe.dataset_name, recipe.decontaminate, model.model_name_or_path)
    for name, function in functions.items():
        for rows in (inputs.train, inputs.test):
            if rows is not None:
                check_inputs(name, function, next(iter(rows)))
    return inputs


def _load_prompt_sets(
    recipe: RecipeArguments, training: GRPOConfig, model: ModelConfig, evaluates: bool, fields: Fields
) -> Inputs:
    own_test = evaluates and recipe.eval_dataset_name is None
    train, test = load_prompts(
        recipe.dataset_name,
        config=recipe.dataset_config,
        train_split=recipe.dataset_train_split,
        test_split=recipe.dataset_test_split if own_test else None,
        test_size=recipe.test_size,
        split_seed=recipe.split_seed,
        size=recipe.dataset_size,
        prompt_format=recipe.prompt_format,
        streaming=recipe.dataset_streaming,
        fields=fields,
    )
    if evaluates and not own_test:
        test, _ = load_prompts(
            recipe.eval_dataset_name,
            train_split=recipe.eval_dataset_split,
            test_split=None,
            prompt_format=recipe.prompt_format,
            fields=EVAL_FIELDS,
        )
    return Inputs([], train, test)


def _load_math_sets(
    recipe: RecipeArguments, training: GRPOConfig, model: ModelConfig, evaluates: bool, fields: Fields
) -> Inputs:
    limits = {"verify": recipe.verify_answers}
    if recipe.max_prompt_tokens:
        trusted = training.trust_remote_code
        with hub_or_cache():
            tokenizer = AutoTokenizer.from_pretrained(model.model_name_or_path, trust_remote_code=trusted)
        limits |= {"tokenizer": tokenizer, "max_prompt_tokens": recipe.max_prompt_tokens}
    name, config = recipe.dataset_name, recipe.dataset_config or None  # "" on the command line unsets it
    training_split = {"split": recipe.dataset_train_split, "config": config, "decontaminate": recipe.decontaminate}
    train, report = load_math(name, **training_split, **limits, fields=fields)
    test, reports = None, {"train": report}
    if recipe.test_size is not None:
        train, test = hold_out(train, recipe.test_size, recipe.split_seed)
    if recipe.dataset_size is not None:
        train = train.take(recipe.dataset_size)
    if not evaluates:
        return Inputs([], train, None, reports)
    if recipe.eval_dataset_name is not None:
        own = {"split": recipe.eval_dataset_split, "fields": EVAL_FIELDS}
        test, reports["eval"] = load_math(recipe.eval_dataset_name, **own, **limits)
    elif test is None:
        own = {"split": recipe.dataset_test_split, "fields": TEST_FIELDS}
        test, reports["eval"] = load_math(name, config=config, **own, **limits)
    return Inputs([], train, test, reports)
