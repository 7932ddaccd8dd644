"""An option's help, when to set it, and its check, written once: for argparse, docstrings and errors."""

import inspect
import math
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar


Config = TypeVar("Config")
Check = tuple[str, Callable[[Any], bool]]  # what a value must be, in words and in code


class Help(str):
    """What an option does, as text; the parser of Transformers passes the metadata of a field to argparse."""

    when: str  # when to set it, or who does
    must: Check | None  # what its value must be

    def __new__(cls, text: str, when: str, must: Check | None = None) -> "Help":
        self = super().__new__(cls, text)
        self.when, self.must = when, must
        return self


def option(default: Any, text: str, when: str = "", must: Check | None = None, **metadata: Any) -> Any:
    """A field of a dataclass; the arguments are those of [`Help`], and others of argparse, such as `choices`."""
    metadata["help"] = Help(text, when, must)
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def one_of(*values: str | None) -> Check:
    return f"must be one of {', '.join(map(repr, values))}", lambda value: value in values


def number(words: str, holds: Callable[[float], bool]) -> Check:
    """A finite number that the words describe, or `None`."""
    return f"must be a finite number{words}", lambda value: value is None or (math.isfinite(value) and holds(value))


def described(config: type) -> list[Field]:
    """The fields of a dataclass, inherited ones included, whose help is a [`Help`]."""
    return [item for item in fields(config) if isinstance(item.metadata.get("help"), Help)]


def check_values(config: Any) -> None:
    """Raises `ValueError` with the field's name and what its value must be."""
    for item in described(type(config)):
        value, must = getattr(config, item.name), item.metadata["help"].must
        if must and not must[1](value):
            raise ValueError(f"`{item.name}` {must[0]}, got {value!r}.")


def document(config: type[Config]) -> type[Config]:
    """Writes the options of a dataclass into its docstring."""
    lines = [f"{inspect.getdoc(config)}", "", "Parameters:"]
    for item in described(config):
        kind = item.type.__name__ if isinstance(item.type, type) else item.type
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        lines.append(f"    {item.name} (`{kind}`, *optional*, defaults to `{default!r}`):")
        help_text = item.metadata["help"]
        text = f"{help_text} When to set it: {help_text.when}" if help_text.when else help_text
        lines += textwrap.wrap(text, 112, initial_indent=" " * 8, subsequent_indent=" " * 8)
    config.__doc__ = "\n".join(lines)
    return config
