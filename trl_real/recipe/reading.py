"""
How a recipe is found, read and checked: YAML plus command-line overrides, on TRL's parser.

In: the command line of a script and the dataclasses of its options. Out: the options as plain values, then one object
per dataclass. Whatever is misspelt is one `ValueError` that names it and the nearest field; nothing is guessed and
nothing is ignored, but for what a recipe says of a set of the hub where the command line names a local one: one line.
"""

import argparse
import dataclasses
import logging
import os
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

from trl import TrlParser

from ..spelling import nearest
from .methods import METHODS
from .options import RecipeArguments
from .words import check_fields, field_name, no_option, read_recipe


logger = logging.getLogger(__name__)

NONE_WORDS = ("none", "null")
# What a recipe says of a set of the hub: of any that is local, it has no configurations; a file has one split
HUB_FIELDS = {"dataset_name": ("dataset_config",)}
SPLIT_FIELDS = {
    "dataset_name": ("dataset_train_split", "dataset_test_split"),
    "eval_dataset_name": ("eval_dataset_split",),
}


def read_method(argv: list[str], recipes: Path) -> str:
    """The recipe's `method`, which decides what other fields there are. Arguments as in [`read_options`]."""
    content, overrides, _ = read_recipe(argv, recipes)
    overrides, _ = _take_none(overrides, _optional_fields([RecipeArguments]))
    parser = TrlParser([RecipeArguments], allow_abbrev=False, add_help=False, exit_on_error=False)
    parser.set_defaults(method=content.get("method", "real"))
    method = _parse(parser, overrides)[0].method
    if method not in METHODS:
        raise ValueError(f"method: {method!r} is not one of {', '.join(METHODS)}.{nearest(str(method), [*METHODS])}")
    return method


def read_options(argv: list[str], option_classes: list[type], recipes: Path) -> tuple[dict[str, Any], set[str]]:
    """
    The fields of `--config NAME --field value ...` as plain values, before any of them is checked; the command line
    overrides the YAML file.

    Args:
        argv (`list[str]`):
            The command line without the program's name.
        option_classes (`list[type]`):
            Dataclasses whose fields are the options.
        recipes (`Path`):
            Folder of the recipes that `--config` takes by their bare name.

    Returns:
        `tuple`: all fields with their defaults, and the names of those that the recipe or the command line sets.
    """
    # Abbreviations would let a typo pass as another option
    usage = "%(prog)s --config NAME_OR_PATH [--field value ...]"
    how = dict(allow_abbrev=False, exit_on_error=False, conflict_handler="resolve", usage=usage)
    parser = TrlParser(option_classes, **how)
    fields = {field.name: field for option_class in option_classes for field in dataclasses.fields(option_class)}
    if "report_to" in fields:
        # Transformers takes several trackers, its parser only one
        parser.add_argument("--report_to", "--report-to", nargs="+", default="none")
    content, overrides, path = read_recipe(argv, recipes)
    overrides, unset = _take_none(overrides, _optional_fields(option_classes))
    environment = content.pop("env", {})
    check_fields(content, fields, path)
    for word in _parse(parser, overrides)[1]:
        if not word.startswith("--"):
            raise ValueError(f"`{word}` on the command line belongs to no option; options are written --field value.")
        raise no_option(field_name(word), fields)
    os.environ.update({name: str(value) for name, value in environment.items()})
    parser.set_defaults_with_config(**content)
    written = {field_name(word) for word in overrides if word.startswith("--")} | unset
    options = vars(_parse(parser, overrides)[0]) | dict.fromkeys(unset)
    if "dataset_name" in fields:
        options |= _fields_of_the_hub(options, content, written, fields)
    return options, {*content, *written}


def build_options(options: dict[str, Any], option_classes: list[type]) -> tuple[Any, ...]:
    """One object for each of `option_classes`, which check their fields."""
    return TrlParser(option_classes).parse_dict(options)


def _optional_fields(option_classes: list[type]) -> set[str]:
    """Fields that may be `None`; to trackers the word `none` has a meaning of its own."""
    hints = [hint for option_class in option_classes for hint in get_type_hints(option_class).items()]
    return {name for name, hint in hints if type(None) in get_args(hint)} - {"report_to"}


def _take_none(words: list[str], optional: set[str]) -> tuple[list[str], set[str]]:
    """Takes `--field none` and `--field=none` out of the command line: the rest, and the fields that are unset."""
    unset, rest, skip = set(), [], False
    for word, following in pairwise([*words, ""]):
        name, equals, value = field_name(word), "=" in word, word.partition("=")[2]
        if skip:
            skip = False
        elif word.startswith("--") and name in optional and (value if equals else following).lower() in NONE_WORDS:
            unset.add(name)
            skip = not equals
        else:
            rest.append(word)
    return rest, unset


def _fields_of_the_hub(
    options: dict[str, Any], content: dict[str, Any], written: set[str], fields: dict[str, dataclasses.Field]
) -> dict[str, Any]:
    """What replaces fields of the recipe that a local data set has no use for, which is said in one line each."""
    changes = {}
    for name, splits in SPLIT_FIELDS.items():
        value = options[name]
        path = Path(value or "").expanduser()
        if value is None or not path.exists():
            continue
        if name in written:
            hub = (*HUB_FIELDS.get(name, ()), *(splits if path.is_file() else ()))
            void = [field for field in hub if field in content and field not in written]
            changes |= {field: fields[field].default for field in void}
            void = [field for field in void if content[field] != "train"]  # which a file has
            if void and int(os.environ.get("RANK", 0)) == 0:
                said = ", ".join(f"{field}: {content[field]}" for field in void)
                logger.warning(f"{name}: {value} is local, so {said} of the recipe does not apply.")
        if name == "eval_dataset_name" and path.is_file():  # the only split that a file has
            changes |= {field: "train" for field in splits if field in changes or field not in {*content, *written}}
    return changes


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What the words say, and those that belong to no option; by itself argparse ends the program in its usage."""
    try:
        return parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        name = str(error.argument_name).partition("/")[0].removeprefix("--")
        raise ValueError(f"{name}: {error.message}.") from error
