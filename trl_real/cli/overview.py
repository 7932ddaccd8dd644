"""
What is answered before a program and its libraries are imported: help, and names that do not exist.

TRL's parser describes the fields of TRL and Transformers (`--help all`).
"""

import textwrap
from itertools import pairwise
from typing import Any

from ..recipe.shipped import listed, recipes_folder
from ..recipe.words import check_fields, field_name, no_option, read_recipe
from .table import names, read_table


WIDTH, INDENT = 110, 28
USAGE = {
    "train": "trl-real train --config NAME_OR_PATH [--field value ...] [options of launching]",
    "evaluate": "trl-real evaluate [--config NAME_OR_PATH] [--field value ...]",
}
LAUNCHING = """\

Launching, through Accelerate; by default on all GPUs of this machine:
  --accelerate_config       single_gpu, ddp, fsdp2, zero3, multi_node, or a file of `accelerate config`
  --num_processes           and all other options of `accelerate launch`

All fields, including those of GRPOConfig and ModelConfig: trl-real train --help all"""


def answered(command: str, words: list[str]) -> bool:
    """Prints help and returns `True`; otherwise ends the program at a name that does not exist."""
    for word, following in pairwise([*words, ""]):
        if word in ("-h", "--help"):
            print(_describe_all(command) if following == "all" else _describe(command))
            return True
    try:
        _check_names(command, words)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    return False


def _check_names(command: str, words: list[str]) -> None:
    table = read_table()
    known = [*names(table, command), "config"]
    written = [field_name(word) for word in words if word.startswith("--")]
    if command == "train":
        content, _, path = read_recipe(words, recipes_folder())
        check_fields([name for name in content if name != "env"], known, path)
        known += ["accelerate_config", *names(table, "launch")]
        if path is None and "model_name_or_path" not in written:
            raise ValueError(f"config: name a recipe, --config NAME_OR_PATH. {listed(recipes_folder())}")
    for name in written:
        if name not in known and name.removeprefix("no_") not in known:
            raise no_option(name, known)


def _describe(command: str) -> str:
    lines = [f"usage: {USAGE[command]}"]
    for heading, texts in read_table()["shown"][command].items():
        lines += ["", heading]
        for name, text in texts.items():
            start, indent = f"  --{name} ".ljust(INDENT), " " * INDENT
            lines.append(textwrap.fill(f"{start}{text}", WIDTH, subsequent_indent=indent, break_on_hyphens=False))
    return "\n".join([*lines, *([LAUNCHING] if command == "train" else [])])


def _describe_all(command: str) -> str:
    """Every option, as TRL's parser describes it."""
    from trl import ModelConfig, TrlParser

    from ..evaluation.options import EvaluationArguments
    from ..recipe.options import RecipeArguments
    from ..trainer.config import REALConfig

    classes: Any = [RecipeArguments, REALConfig, ModelConfig] if command == "train" else [EvaluationArguments]
    return TrlParser(classes, allow_abbrev=False, usage=USAGE[command]).format_help()
