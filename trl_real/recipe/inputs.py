"""
The reward functions and data sets that a recipe names, ready for a trainer.

In: the options of a recipe. Out: functions, a training set, a held-out set or none, and what cleaning removed. Left
out: how data sets are read and cleaned (`trl_real.data.loading`, `trl_real.data.mathematics`).
"""

from collections.abc import Iterator
from contextlib import suppress
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
from ..validation.arguments import check_prompts_suffice, check_rewards, reward_names
from .batch import Batch
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
    recipe: RecipeArguments,
    training: GRPOConfig,
    model: ModelConfig,
    fields: Fields = TRAIN_FIELDS,
    trains: bool = True,
) -> Inputs:
    """
    Finds the reward functions, loads the data sets and checks that the ones can be called on the others.

    Args:
        recipe ([`RecipeArguments`]), training ([`~trl.GRPOConfig`]), model ([`~trl.ModelConfig`]):
            The options of a recipe.
        fields (`Fields`, *optional*):
            The options that errors about the training set name.
        trains (`bool`, *optional*, defaults to `True`):
            Whether the training set must be large enough for one generation.
    """
    functions = {name: resolve_reward_func(name, training.max_completion_length) for name in recipe.reward_funcs}
    evaluates = training.eval_strategy != "no" or training.eval_on_start
    with training.main_process_first(desc="loading the data set"):
        load = _load_math_sets if recipe.dataset_format == "math" else _load_prompt_sets
        inputs = load(recipe, training, model, evaluates, fields)
    inputs.reward_funcs = list(functions.values())
    inputs.origin = (recipe.dataset_name, recipe.decontaminate, model.model_name_or_path)
    check_rewards(training, reward_names(inputs.reward_funcs))
    if trains:
        _check_size(recipe, training, inputs.train)
    for name, function in functions.items():
        for rows in (inputs.train, inputs.test):
            if rows is not None:
                check_inputs(name, function, next(iter(rows)))
    return inputs


def _check_size(recipe: RecipeArguments, training: GRPOConfig, train: AnyDataset) -> None:
    """Raises `ValueError` if the training set is smaller than one generation; the length of a stream is not known."""
    if not hasattr(train, "__len__"):
        return
    if recipe.prompts_per_generation and len(train) < recipe.prompts_per_generation:
        raise ValueError(
            f"prompts_per_generation: {recipe.prompts_per_generation} prompts are sampled at once, and the training "
            f"set has {len(train)}, so no step would be made. {_smaller_batch(recipe, training, len(train))}"
        )
    check_prompts_suffice(training, len(train))


def _smaller_batch(recipe: RecipeArguments, training: GRPOConfig, prompts: int) -> str:
    """The largest batch of the recipe's kind that these prompts are enough for."""
    steps = recipe.prompts_per_generation // recipe.prompts_per_step
    fixed = (training.num_generations, training.per_device_train_batch_size, training.world_size)
    for per_step in range(prompts // steps, 0, -1):
        with suppress(ValueError):
            Batch(per_step * steps, per_step, *fixed).check()
            return f"Write --prompts_per_generation {per_step * steps} --prompts_per_step {per_step}, or less."
    return "Take more prompts, or fewer at once with a smaller per_device_train_batch_size."


def _load_prompt_sets(
    recipe: RecipeArguments, training: GRPOConfig, model: ModelConfig, evaluates: bool, fields: Fields
) -> Inputs:
    own_test = evaluates and recipe.eval_dataset_name is None
    form = {
        name: getattr(recipe, name) for name in ("prompt_format", "prompt_column", "answer_column", "system_prompt")
    }
    train, test = load_prompts(
        recipe.dataset_name,
        config=recipe.dataset_config,
        train_split=recipe.dataset_train_split,
        test_split=recipe.dataset_test_split if own_test else None,
        test_size=recipe.test_size,
        split_seed=recipe.split_seed,
        size=recipe.dataset_size,
        streaming=recipe.dataset_streaming,
        fields=fields,
        **form,
    )
    if evaluates and not own_test:
        own = {"train_split": recipe.eval_dataset_split, "test_split": None, "fields": EVAL_FIELDS}
        test, _ = load_prompts(recipe.eval_dataset_name, **own, **form)
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
    name, config = recipe.dataset_name, recipe.dataset_config
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
