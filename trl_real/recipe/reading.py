"""
How a recipe is found, read and checked: YAML plus command-line overrides, on TRL's parser.

In: the command line of a script and the dataclasses of its options. Out: the options as plain values, then one object
per dataclass. Whatever is misspelt is one `ValueError` that names it and the nearest field; nothing is guessed and
nothing is ignored.
"""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

import yaml
from trl import TrlParser

from .methods import METHODS
from .options import RecipeArguments
from .shipped import find_recipe, listed, nearest, recipes_folder


def read_method(argv: list[str], recipes: Path) -> str:
    """The recipe's `method`, which decides what other fields there are. Arguments as in [`read_options`]."""
    content, overrides, _ = _read_recipe(argv, recipes)
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
    fields = [field.name for option_class in option_classes for field in dataclasses.fields(option_class)]
    if "report_to" in fields:
        # Transformers takes several trackers, its parser only one
        parser.add_argument("--report_to", "--report-to", nargs="+", default="none")
    content, overrides, path = _read_recipe(argv, recipes)
    environment = content.pop("env", {})
    for key in content:
        if key not in fields:
            raise ValueError(f"{path}: there is no field `{key}`.{nearest(key, fields)}")
    for word in _parse(parser, overrides)[1]:
        if not word.startswith("--"):
            raise ValueError(f"`{word}` on the command line belongs to no option; options are written --field value.")
        name = _field_name(word)
        raise ValueError(f"There is no option `--{name}`.{nearest(name, fields)}")
    os.environ.update({name: str(value) for name, value in environment.items()})
    parser.set_defaults_with_config(**content)
    written = {_field_name(word) for word in overrides if word.startswith("--")}
    return vars(_parse(parser, overrides)[0]), {*content, *written}


def build_options(options: dict[str, Any], option_classes: list[type]) -> tuple[Any, ...]:
    """One object for each of `option_classes`, which check their fields."""
    return TrlParser(option_classes).parse_dict(options)


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What the words say, and those that belong to no option; by itself argparse ends the program in its usage."""
    try:
        return parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        name = str(error.argument_name).partition("/")[0].removeprefix("--")
        raise ValueError(f"{name}: {error.message}.") from error


def _read_recipe(argv: list[str], recipes: Path) -> tuple[dict[str, Any], list[str], Path | None]:
    """Content of the recipe, the words that override it, and its path."""
    config, overrides = split_config(argv)
    if config is None:
        return {}, overrides, None
    path = find_recipe(config, recipes)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"config: {path} must hold lines of the form `field: value`.")
    return content, overrides, path


def _field_name(word: str) -> str:
    return word.removeprefix("--").partition("=")[0].replace("-", "_")


def split_config(argv: list[str]) -> tuple[str | None, list[str]]:
    """Takes `--config X` or `--config=X` out of the command line."""
    config, rest, words = None, [], iter(argv)
    for word in words:
        if word.partition("=")[0] != "--config":
            rest.append(word)
            continue
        config = word.partition("=")[2] or next(words, "")
        if not config or config.startswith("--"):
            raise ValueError(f"config: --config needs a path, or a recipe's name. {listed(recipes_folder())}")
    return config, rest
