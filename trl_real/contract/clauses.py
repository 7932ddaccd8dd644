"""
The kinds of clause, and how each is checked without making a trainer.

In: a clause. Out: a sentence for everything in it that does not hold. What a class gives its instances is read from
its compiled code, since TRL sets most of it in `__init__`, which needs a model and data.
"""

import dis
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import CodeType
from typing import Any


STORE_ATTR, EXTENDED_ARG = dis.opmap["STORE_ATTR"], dis.opmap["EXTENDED_ARG"]


def stored_attributes(code: CodeType) -> set[str]:
    """Names of the attributes that a function sets; as `dis` finds them, in a tenth of its time."""
    stored, high = set(), 0
    for opcode, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = high | low
        high = argument << 8 if opcode == EXTENDED_ARG else 0
        if opcode == STORE_ATTR:
            stored.add(code.co_names[argument])
    return stored


class Source:
    """What the code of a class says about its instances."""

    def __init__(self, cls: type):
        self.cls = cls
        members = [(name, inspect.unwrap(member)) for base in cls.__mro__ for name, member in vars(base).items()]
        self.codes = [(name, member.__code__) for name, member in members if inspect.isfunction(member)]
        self.stored = set().union(*(stored_attributes(code) for _, code in self.codes))

    def has(self, name: str) -> bool:
        """Whether it is on the class, a field of it, or set by one of its methods."""
        kinds = ("__dataclass_fields__", "__required_keys__", "__optional_keys__")  # the latter of a typed dictionary
        return (
            hasattr(self.cls, name)
            or name in self.stored
            or any(name in getattr(self.cls, kind, ()) for kind in kinds)
        )

    def uses(self, name: str) -> bool:
        """Whether a method other than this one calls it."""
        return any(name in code.co_names for caller, code in self.codes if caller != name)

    def strings(self) -> set[str]:
        """The strings in its methods, among them every key that they read and write."""
        constants = [constant for _, code in self.codes for constant in code.co_consts]
        constants += [key for keys in constants if isinstance(keys, tuple) for key in keys]  # of a dict display
        return {constant for constant in constants if isinstance(constant, str)}


class Library:
    """
    The installed libraries.

    Args:
        trainer_class (`type`, *optional*):
            In place of [`~trl.GRPOTrainer`].
    """

    def __init__(self, trainer_class: type | None = None):
        self._stand_ins = {} if trainer_class is None else {"GRPOTrainer": trainer_class}
        self._sources: dict[type, Source] = {}

    def find(self, where: str) -> Any:
        """What `where` ("module:name", "module:class.name") names; `ImportError` or `AttributeError` if it is gone."""
        module, _, path = where.partition(":")
        found: Any = import_module(module)
        for name in path.split("."):
            found = self._stand_ins.get(name) or getattr(found, name)
        return found

    def source(self, where: str) -> Source:
        """The code of a class."""
        cls = self.find(where)
        if cls not in self._sources:
            self._sources[cls] = Source(cls)
        return self._sources[cls]


@dataclass(frozen=True)
class Clause:
    """
    Something that a library has to keep.

    Args:
        where (`str`):
            `"module:name"`.
        why (`str`):
            What this package does with it.
    """

    where: str
    why: str

    @property
    def name(self) -> str:
        """As it is written in Python."""
        return self.where.replace(":", ".")

    def violations(self, library: Library) -> list[str]:
        """A sentence for each thing that does not hold."""
        try:
            return [f"`{self.name}` {what} ({self.why})" for what in self.broken(library)]
        except (ImportError, AttributeError):
            return [f"`{self.name}` is gone ({self.why})"]

    def broken(self, library: Library) -> Iterator[str]:
        """What does not hold, to follow the name."""
        raise NotImplementedError


@dataclass(frozen=True)
class Takes(Clause):
    """A function that is called with these arguments in this order; others must be optional."""

    arguments: tuple[str, ...]

    def broken(self, library: Library) -> Iterator[str]:
        parameters = list(inspect.signature(library.find(self.where)).parameters.values())
        names = tuple(parameter.name for parameter in parameters)
        if names[: len(self.arguments)] != self.arguments:
            yield f"takes {names}, not {self.arguments}"
            return
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        for parameter in parameters[len(self.arguments) :]:
            required = parameter.default is inspect.Parameter.empty and parameter.kind not in variadic
            if required:
                yield f"needs an argument {parameter.name}"


@dataclass(frozen=True)
class Overrides(Clause):
    """A method that is replaced: it takes just these arguments (`None`: ours passes on any), and is still called."""

    arguments: tuple[str, ...] | None

    def broken(self, library: Library) -> Iterator[str]:
        names = tuple(inspect.signature(library.find(self.where)).parameters)
        if self.arguments is not None and names != self.arguments:
            yield f"takes {names}, not {self.arguments}"
        cls, _, name = self.where.rpartition(".")
        if not name.startswith("__") and not library.source(cls).uses(name):
            yield "is no longer called"


@dataclass(frozen=True)
class Has(Clause):
    """A class whose instances have these attributes or fields."""

    names: tuple[str, ...]

    def broken(self, library: Library) -> Iterator[str]:
        source = library.source(self.where)
        for name in self.names:
            if not source.has(name):
                yield f"has no `{name}`"


@dataclass(frozen=True)
class Lacks(Clause):
    """A class that leaves these names to ours."""

    names: tuple[str, ...]

    def broken(self, library: Library) -> Iterator[str]:
        source = library.source(self.where)
        for name in self.names:
            if source.has(name):
                yield f"has a `{name}` of its own now"


@dataclass(frozen=True)
class Spells(Clause):
    """A class whose methods read or write these keys."""

    keys: tuple[str, ...]

    def broken(self, library: Library) -> Iterator[str]:
        strings = library.source(self.where).strings()
        for key in self.keys:
            if key not in strings:
                yield f'has no key "{key}"'


@dataclass(frozen=True)
class Behaves(Clause):
    """Something that can be tried in a moment: what it gives is compared with what it has to."""

    trial: Callable[[Any], bool]

    def broken(self, library: Library) -> Iterator[str]:
        found = library.find(self.where)
        try:
            holds = self.trial(found)
        except Exception as error:  # whatever the library raises is the finding
            yield f"fails: {type(error).__name__}: {error}"
        else:
            if not holds:
                yield "behaves differently"
