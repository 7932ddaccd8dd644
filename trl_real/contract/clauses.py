"""
The kinds of clause, and how each is checked without making a trainer.

What a class gives its instances is read from its compiled code, since TRL sets most of it in `__init__`, which needs a
model and data. What a method returns is read from its source.
"""

import ast
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
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


def returned(function: Callable[..., Any]) -> tuple[set[int], set[str]]:
    """Lengths of the tuples, and keys of the dictionaries, that a function returns."""
    nodes = list(_without_nested(ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]))
    values = [node.value for node in nodes if isinstance(node, ast.Return)]
    lengths = {len(value.elts) for value in values if isinstance(value, ast.Tuple)}
    names = {value.id for value in values if isinstance(value, ast.Name)}
    keys: list[ast.expr | None] = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Name) and target.id in names and isinstance(value, ast.Dict):
                keys += value.keys
            if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id in names:
                keys.append(target.slice)
    return lengths, {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def _without_nested(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _without_nested(child)


class Source:
    """What the code of a class tells about its instances."""

    def __init__(self, cls: type):
        self.cls = cls
        members = [(name, inspect.unwrap(member)) for base in cls.__mro__ for name, member in vars(base).items()]
        self.codes = [(name, member.__code__) for name, member in members if inspect.isfunction(member)]
        self.stored = set().union(*(stored_attributes(code) for _, code in self.codes))

    def has(self, name: str) -> bool:
        """Whether it is on the class, a field or a key of it, or set by one of its methods."""
        kinds = ("__dataclass_fields__", "__required_keys__", "__optional_keys__")
        fields = any(name in getattr(self.cls, kind, ()) for kind in kinds)
        return fields or hasattr(self.cls, name) or name in self.stored

    def uses(self, name: str) -> bool:
        """Whether a method other than this one calls it."""
        return any(name in code.co_names for caller, code in self.codes if caller != name)

    @cached_property
    def strings(self) -> set[str]:
        """The strings in its methods, among them every key that they read and write."""
        constants = [constant for _, code in self.codes for constant in code.co_consts]
        constants += [key for keys in constants if isinstance(keys, tuple) for key in keys]  # of a dict display
        return {constant for constant in constants if isinstance(constant, str)}


class Library:
    """The installed libraries, with `trainer_class` instead of [`~trl.GRPOTrainer`], if given."""

    def __init__(self, trainer_class: type | None = None):
        self._substitutes = {} if trainer_class is None else {"GRPOTrainer": trainer_class}
        self._sources: dict[type, Source] = {}

    def find(self, where: str) -> Any:
        """What `where` ("module:name", "module:class.name") names; `ImportError` or `AttributeError` if it is gone."""
        module, _, path = where.partition(":")
        found: Any = import_module(module)
        for name in path.split("."):
            found = self._substitutes.get(name) or getattr(found, name)
        return found

    def source(self, where: str) -> Source:
        """The code of a class."""
        cls = self.find(where)
        if cls not in self._sources:
            self._sources[cls] = Source(cls)
        return self._sources[cls]


@dataclass(frozen=True)
class Clause:
    """Something that a library has to keep. Further fields are names, separated by blanks."""

    where: str  # "module:name"
    why: str  # what this package does with it

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

    def broken(self, library: Library) -> Iterable[str]:
        """The predicates of these sentences."""
        raise NotImplementedError


@dataclass(frozen=True)
class Takes(Clause):
    """A function that is called with these arguments in this order; others must be optional."""

    arguments: str

    def broken(self, library: Library) -> Iterator[str]:
        parameters = list(inspect.signature(library.find(self.where)).parameters.values())
        names, wanted = tuple(parameter.name for parameter in parameters), tuple(self.arguments.split())
        if names[: len(wanted)] != wanted:
            yield f"takes {names}, not {wanted}"
            return
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        for parameter in parameters[len(wanted) :]:
            if parameter.default is inspect.Parameter.empty and parameter.kind not in variadic:
                yield f"needs an argument {parameter.name}"


@dataclass(frozen=True)
class Overrides(Clause):
    """A method that is replaced: it takes just these arguments (`None`: ours passes on any), and is still called."""

    arguments: str | None

    def broken(self, library: Library) -> Iterator[str]:
        names = tuple(inspect.signature(library.find(self.where)).parameters)
        if self.arguments is not None and names != (wanted := tuple(self.arguments.split())):
            yield f"takes {names}, not {wanted}"
        cls, _, name = self.where.rpartition(".")
        if not name.startswith("__") and not library.source(cls).uses(name):
            yield "is no longer called"


@dataclass(frozen=True)
class Returns(Clause):
    """A method that returns a tuple of this length, or a dictionary with these keys."""

    value: int | str

    def broken(self, library: Library) -> Iterator[str]:
        try:
            lengths, keys = returned(inspect.unwrap(library.find(self.where)))
        except OSError:  # installed without its source
            return
        if isinstance(self.value, int):
            if lengths != {self.value}:
                number = " or ".join(map(str, sorted(lengths))) or "an unknown number of"
                yield f"returns {number} values, not {self.value}"
            return
        yield from (f'no longer returns "{key}"' for key in self.value.split() if key not in keys)

    def unread(self, library: Library) -> list[str]:
        """Keys that it also returns: nothing breaks without them, but a setting may have come with them."""
        if isinstance(self.value, int):
            return []
        try:
            _, keys = returned(inspect.unwrap(library.find(self.where)))
        except OSError:
            return []
        return sorted(keys.difference(self.value.split()))


@dataclass(frozen=True)
class Has(Clause):
    """A class whose instances have these attributes or fields."""

    names: str

    def broken(self, library: Library) -> Iterable[str]:
        source = library.source(self.where)
        return [f"has no `{name}`" for name in self.names.split() if not source.has(name)]


@dataclass(frozen=True)
class Lacks(Clause):
    """A class that leaves these names to ours."""

    names: str

    def broken(self, library: Library) -> Iterable[str]:
        source = library.source(self.where)
        return [f"has a `{name}` of its own now" for name in self.names.split() if source.has(name)]


@dataclass(frozen=True)
class Spells(Clause):
    """A class whose methods read or write these keys."""

    keys: str

    def broken(self, library: Library) -> Iterable[str]:
        source = library.source(self.where)
        return [f'has no key "{name}"' for name in self.keys.split() if name not in source.strings]


@dataclass(frozen=True)
class Behaves(Clause):
    """Something that can be called in a moment, to compare its result."""

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
