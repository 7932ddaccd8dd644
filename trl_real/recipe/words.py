"""Reads the command line and the recipe before torch is imported; only names are checked."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

from ..spelling import nearest
from .shipped import find_recipe, listed, recipes_folder


def check_fields(names: Iterable[str], known: Collection[str], path: Path | None) -> None:
    """Raises `ValueError` for the first field of the recipe at `path` that is not known."""
    for name in names:
        if name not in known:
            raise ValueError(f"{path}: there is no field `{name}`.{nearest(name, known)}")


def no_option(name: str, known: Collection[str]) -> ValueError:
    """The error for an unknown option."""
    return ValueError(f"There is no option `--{name}`.{nearest(name, known)}")


def read_recipe(argv: list[str], recipes: Path) -> tuple[dict[str, Any], list[str], Path | None]:
    """Content of the recipe, the words that override it, and its path."""
    config, overrides = split_config(argv)
    if config is None:
        return {}, overrides, None
    path = find_recipe(config, recipes)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"config: {path} must contain lines of the form `field: value`.")
    return content, overrides, path


def field_name(word: str) -> str:
    """The field that `--field-name` or `--field_name=value` sets."""
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
