"""Copies of a library's classes and functions in which something has changed, as a later version might have it."""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any


def flat_copy(cls: type, without: str | None = None, **members: Any) -> type:
    """A class with all that this one has and inherits, without one name, and with these members in place of its."""
    everything: dict[str, Any] = {}
    for base in cls.__mro__[:-1]:
        for name, member in vars(base).items():
            # A method that is overridden stays, since it sets attributes too
            everything.setdefault(name if name not in everything else f"{base.__name__}_{name}", member)
    left_out = {"__dict__", "__weakref__", without}
    kept = {name: member for name, member in everything.items() if name not in left_out}
    return type(cls.__name__, (), kept | members)


def renamed(cls: type, old: str, new: str) -> type:
    """A flat copy in whose code and strings every `old` is `new`."""

    def rename(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(rename, value))
        return new if value == old else value

    def copy(function: FunctionType) -> FunctionType:
        code = function.__code__
        code = code.replace(co_names=rename(code.co_names), co_consts=rename(code.co_consts))
        return FunctionType(code, function.__globals__, code.co_name, function.__defaults__, function.__closure__)

    members = {name: inspect.unwrap(member) for name, member in vars(flat_copy(cls)).items() if name != old}
    changed = {name: copy(member) for name, member in members.items() if inspect.isfunction(member)}
    return flat_copy(cls, old, **changed)


def with_argument(function: Callable, name: str, default: Any = inspect.Parameter.empty) -> Callable:
    """A function that takes one more argument; it is required if it has no default."""

    @functools.wraps(function)
    def altered(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    signature = inspect.signature(function)
    parameters = [item for item in signature.parameters.values() if item.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default))
    altered.__signature__ = signature.replace(parameters=parameters)
    return altered
