"""The table can neither lack a name nor keep one: compared with what our classes read, write, replace and import."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from trl import GRPOConfig, GRPOTrainer

from trl_real import REALConfig, REALTrainer, compat
from trl_real.contract.clauses import Behaves, Has, Lacks, Overrides, Source, Spells, Takes
from trl_real.contract.table import CONFIG, CONTRACT, ROLLOUT_KEYS, TRAINER
from trl_real.step.rollouts import TOKEN_TYPE_KEYS, VISION_KEYS
from trl_real.validation.trainer import ValidatingTrainer


PACKAGE = Path(compat.__file__).parent
ROOMS = ("engines", "checkpoints", "validation", "trainer")
MODULES = sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py"))
BASES = [cls for cls in REALTrainer.__mro__ if cls.__module__.startswith("trl_real.")]
OWN_OPTIONS = {item.name for item in fields(REALConfig)} - {item.name for item in fields(GRPOConfig)}
OWN_METHODS = {"label_rule"}


def reads(kinds: set[str]) -> Iterator[tuple[str, str]]:
    """Object and attribute of every access in the trainer's rooms; `self` counts only in classes of these names."""
    for path in MODULES:
        tree = ast.parse(path.read_text("utf-8"))
        others = [cls for cls in ast.walk(tree) if isinstance(cls, ast.ClassDef) and cls.name not in kinds]
        elsewhere = {node for cls in others for node in ast.walk(cls)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                base = ast.unparse(node.value)
                if node not in elsewhere or base not in ("self", "super()"):
                    yield base, node.attr


def on_the_trainer() -> set[str]:
    """What our code reads or writes on a trainer, ours and TRL's."""
    names = {cls.__name__ for cls in BASES}
    trainers = {"self", "super()", "trainer", "self.trainer", "self._trainer"}
    return {attribute for base, attribute in reads(names) if base in trainers}


def own_names() -> set[str]:
    """What our trainer classes define."""
    annotated = {name for cls in BASES for name in inspect.get_annotations(cls)}
    return {name for cls in BASES for name in vars(cls)} | set().union(*(ours(cls) for cls in BASES)) | annotated


def ours(cls: type) -> set[str]:
    flat = type("Ours", (), {name: member for name, member in vars(cls).items() if inspect.isfunction(member)})
    return Source(flat).stored


def in_the_table(where: str) -> set[str]:
    """Names of the attributes and methods that the table has of a class."""
    of_class = [clause for clause in CONTRACT if isinstance(clause, Has) and clause.where == where]
    names = {name for clause in of_class for name in clause.names.split()}
    methods = {clause.where for clause in CONTRACT if isinstance(clause, Takes | Overrides)}
    return names | {method.rpartition(".")[2] for method in methods if method.startswith(f"{where}.")}


def test_the_table_has_what_is_read_or_replaced_of_the_trainer_and_no_more() -> None:
    theirs = Source(GRPOTrainer)
    replaced = {name for cls in BASES for name in vars(cls) if theirs.has(name)}
    replaced -= {name for name in replaced if name.startswith("__") and name != "__init__"}
    sampling = {"temperature", "top_p"}  # by setattr, in `eval_sampling`
    used = {name for name in on_the_trainer() if theirs.has(name)} | replaced | sampling
    assert used == in_the_table(TRAINER)


def test_whatever_else_is_read_of_the_trainer_is_ours() -> None:
    assert on_the_trainer() - in_the_table(TRAINER) <= own_names()


def test_the_table_has_exactly_the_overridden_methods() -> None:
    members = {name for cls in BASES for name, member in vars(cls).items() if inspect.isfunction(member)}
    overridden = {clause.where.rpartition(".")[2] for clause in CONTRACT if isinstance(clause, Overrides)}
    assert {name for name in members if hasattr(GRPOTrainer, name)} == overridden
    assert issubclass(REALTrainer, ValidatingTrainer)


def test_arguments_of_any_kind_are_allowed_only_where_ours_passes_them_on() -> None:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for clause in CONTRACT:
        if isinstance(clause, Overrides) and not clause.where.endswith("__init__"):
            mine = inspect.signature(getattr(REALTrainer, clause.where.rpartition(".")[2])).parameters.values()
            assert (clause.arguments is None) == any(parameter.kind in variadic for parameter in mine)


def test_the_table_has_the_options_of_trl_that_are_read_and_no_more() -> None:
    configs = {cls.__name__ for cls in REALConfig.__mro__ if cls.__module__.startswith("trl_real.")}
    read = {name for base, name in reads(set()) if base in ("args", "self.args", "trainer.args", "self.trainer.args")}
    own = {name for base, name in reads(configs) if base == "self"}
    read |= {name for name in own if name in GRPOConfig.__dataclass_fields__}
    read |= {name for name in own if isinstance(getattr(GRPOConfig, name, 0), property)}
    assert read - OWN_OPTIONS - OWN_METHODS == in_the_table(CONFIG)


def test_the_table_has_the_options_of_real() -> None:
    [clause] = [clause for clause in CONTRACT if isinstance(clause, Lacks)]
    assert set(clause.names.split()) == OWN_OPTIONS


def test_the_table_has_what_compat_imports_and_no_more() -> None:
    functions = {clause.where for clause in CONTRACT if isinstance(clause, Behaves | Takes)}
    assert {name.partition(":")[2] for name in functions if not name.startswith(TRAINER)} == set(compat.__all__)
    for name in functions:
        module, _, function = name.partition(":")
        assert name.startswith(TRAINER) or module == getattr(compat, function).__module__


def test_the_table_has_the_keys_of_a_generation() -> None:
    masks = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask"}
    assert {*ROLLOUT_KEYS.split()} == {*TOKEN_TYPE_KEYS, *VISION_KEYS, "sampling_per_token_logps"} | masks
    spelt = [key for clause in CONTRACT if isinstance(clause, Spells) for key in clause.keys.split()]
    assert spelt == ["train", "eval", "extra", "advantages"]
