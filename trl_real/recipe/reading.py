"""
Reads and checks recipes: YAML with overrides on the command line, on TRL's parser.

A misspelt name is a `ValueError` that names it and the nearest field. Only fields of the recipe about a hub data set
are ignored, with a warning, when the command line names a local one.
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

OptionClasses = list[Any]  # dataclasses
NONE_WORDS = ("none", "null")
# Fields about hub data sets: local ones have no configurations, and files one split
HUB_FIELDS = {"dataset_name": ("dataset_config",)}
SPLIT_FIELDS = {
    "dataset_name": ("dataset_train_split", "dataset_test_split"),
    "eval_dataset_name": ("eval_dataset_split",),
}


def read_method(argv: list[str], recipes: Path) -> str:
    """The recipe's `method`, which decides which other fields there are. Arguments as in [`read_options`]."""
    content, overrides, _ = read_recipe(argv, recipes)
    classes: OptionClasses = [RecipeArguments]
    overrides, _ = _take_none(overrides, _optional_fields(classes))
    parser = TrlParser(classes, allow_abbrev=False, add_help=False, exit_on_error=False)
    parser.set_defaults(method=content.get("method", "real"))
    method = _parse(parser, overrides)[0].method
    if method not in METHODS:
        raise ValueError(f"method: {method!r} is not one of {', '.join(METHODS)}.{nearest(str(method), [*METHODS])}")
    return method


def read_options(argv: list[str], option_classes: OptionClasses, recipes: Path) -> tuple[dict[str, Any], set[str]]:
    """
    All fields of `--config NAME --field value ...` as plain values, before they are checked, and the names of the set
    ones. `--config` finds recipes in the folder `recipes` by name.
    """
    # Without abbreviations, as which a misspelt option may pass
    usage = "%(prog)s --config NAME_OR_PATH [--field value ...]"
    how = dict(allow_abbrev=False, exit_on_error=False, conflict_handler="resolve", usage=usage)
    parser = TrlParser(option_classes, **how)
    fields = {field.name: field for option_class in option_classes for field in dataclasses.fields(option_class)}
    if "report_to" in fields:
        # Transformers accepts several trackers, its parser only one
        parser.add_argument("--report_to", "--report-to", nargs="+", default="none")
    content, overrides, path = read_recipe(argv, recipes)
    overrides, unset = _take_none(overrides, _optional_fields(option_classes))
    environment = content.pop("env", {})
    check_fields(content, fields, path)
    for word in _parse(parser, overrides)[1]:
        if not word.startswith("--"):
            raise ValueError(f"`{word}` on the command line belongs to no option; write options as --field value.")
        raise no_option(field_name(word), fields)
    os.environ.update({name: str(value) for name, value in environment.items()})
    parser.set_defaults_with_config(**content)
    written = {field_name(word) for word in overrides if word.startswith("--")} | unset
    options = vars(_parse(parser, overrides)[0]) | dict.fromkeys(unset)
    if "dataset_name" in fields:
        options |= _fields_of_the_hub(options, content, written, fields)
    return options, {*content, *written}


def build_options(options: dict[str, Any], option_classes: OptionClasses) -> tuple[Any, ...]:
    """One object for each of `option_classes`, which check their fields."""
    return TrlParser(option_classes).parse_dict(options)


def _optional_fields(option_classes: OptionClasses) -> set[str]:
    """Fields that may be `None`, except trackers, for which the word `none` has its own meaning."""
    hints = [hint for option_class in option_classes for hint in get_type_hints(option_class).items()]
    return {name for name, hint in hints if type(None) in get_args(hint)} - {"report_to"}


def _take_none(words: list[str], optional: set[str]) -> tuple[list[str], set[str]]:
    """Separates `--field none` and `--field=none` from the command line: the other words, and the unset fields."""
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
    """New values for fields of the recipe that do not apply to a local data set; logs a line for each data set."""
    changes: dict[str, Any] = {}
    for name, splits in SPLIT_FIELDS.items():
        value = options[name]
        path = Path(value or "").expanduser()
        if value is None or not path.exists():
            continue
        if name in written:
            hub = (*HUB_FIELDS.get(name, ()), *(splits if path.is_file() else ()))
            ignored = [field for field in hub if field in content and field not in written]
            changes |= {field: fields[field].default for field in ignored}
            texts = [f"{field}: {content[field]}" for field in ignored if content[field] != "train"]  # files have it
            if texts and int(os.environ.get("RANK", 0)) == 0:
                logger.warning(f"{name}: {value} is local, so {', '.join(texts)} of the recipe does not apply.")
        if name == "eval_dataset_name" and path.is_file():  # `train` is the only split of a file
            changes |= {field: "train" for field in splits if field in changes or field not in {*content, *written}}
    return changes


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the words that belong to none; raises `ValueError` where argparse would exit."""
    try:
        return parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        name = str(error.argument_name).partition("/")[0].removeprefix("--")
        raise ValueError(f"{name}: {error.message}.") from error
