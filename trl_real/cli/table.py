"""
Names and help of all options, without the import of the libraries that define them.

`make docs` writes them into `options.json` with the library versions; with other versions the dataclasses are read.
"""

import dataclasses
import json
import textwrap
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import TypedDict


FILE = Path(__file__).with_name("options.json")
DEFINING = ("trl", "transformers", "accelerate")
NEEDED = ("model_name_or_path", "dataset_name", "output_dir", "learning_rate", "max_steps")


class Table(TypedDict):
    """All options of the commands."""

    versions: dict[str, str]  # of the libraries that define options
    shown: dict[str, dict[str, dict[str, str]]]  # by command and heading of its help, the options with their texts
    others: dict[str, list[str]]  # by command, lines with the names of all others; for "launch" Accelerate's


def names(table: Table, command: str) -> list[str]:
    """All options of a command, or of `"launch"`."""
    shown = [name for texts in table["shown"].get(command, {}).values() for name in texts]
    return shown + " ".join(table["others"][command]).split()


def read_table() -> Table:
    """The table for the installed libraries."""
    table = json.loads(FILE.read_text("utf-8"))
    return table if table["versions"] == _versions() else build_table()


def write_table() -> None:
    FILE.write_text(json.dumps(build_table(), indent=1, ensure_ascii=False) + "\n", "utf-8")


def build_table() -> Table:
    """The table from the dataclasses, which takes seconds to import."""
    from accelerate.commands.launch import launch_command_parser
    from trl import ModelConfig, ScriptArguments

    from ..evaluation.options import EvaluationArguments
    from ..recipe.options import RecipeArguments
    from ..trainer.config import REALConfig
    from ..validation.config import ValidationConfig

    train = _texts(RecipeArguments) | _texts(REALConfig) | _texts(ModelConfig)
    parts = {
        "Every run:": NEEDED,
        "Fields of a recipe:": [name for name in _texts(RecipeArguments) if name not in _texts(ScriptArguments)],
        "The objective:": [name for name in _texts(REALConfig) if name not in _texts(ValidationConfig)],
    }
    shown = {heading: {name: train[name] for name in part} for heading, part in parts.items()}
    hidden = train.keys() - {name for part in parts.values() for name in part}
    launch = [text.lstrip("-") for action in launch_command_parser()._actions for text in action.option_strings]
    return {
        "versions": _versions(),
        "shown": {"train": shown, "evaluate": {"Models, problems and sampling:": _texts(EvaluationArguments)}},
        "others": {"train": _lines(hidden), "evaluate": [], "launch": _lines(launch)},
    }


def _texts(options: type) -> dict[str, str]:
    return {item.name: _text(item) for item in dataclasses.fields(options)}


def _text(item: dataclasses.Field) -> str:
    text = " ".join(str(item.metadata.get("help", "")).replace("%%", "%").split())
    is_plain = isinstance(item.default, (str, int, float)) and not isinstance(item.default, bool)
    return f"{text} Default: {item.default}." if is_plain and "efault" not in text else text


def _lines(names: Collection[str]) -> list[str]:
    return textwrap.wrap(" ".join(sorted({name.replace("-", "_") for name in names})), 110)


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in DEFINING}
