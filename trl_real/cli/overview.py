"""
What is answered before a program is imported: help, and names that do not exist.

In: the words of a command line and the table of the options. Out: text, or one line `error: ...`. Left out: what TRL
and Transformers say of their own options, which their parser prints (`--help all`).
"""

import textwrap
from itertools import pairwise

from ..recipe.shipped import listed, recipes_folder
from ..recipe.words import check_fields, field_name, no_option, read_recipe
from .table import Table, names, read_table


WIDTH, INDENT = 110, 28
USAGE = {
    "train": "trl-real train --config NAME_OR_PATH [--field value ...] [options of launching]",
    "evaluate": "trl-real evaluate [--config NAME_OR_PATH] [--field value ...]",
}
LAUNCHING = """\

Launching, through Accelerate; without, all GPUs of this machine:
  --accelerate_config       single_gpu, ddp, fsdp2, zero3, multi_node, or a file of `accelerate config`
  --num_processes           and all other options of `accelerate launch`

All fields, also those of GRPOConfig and ModelConfig: trl-real train --help all"""


def answered(command: str, words: list[str]) -> bool:
    """
    Prints help, or ends the program at a name that does not exist.

    Args:
        command (`str`):
            `"train"` or `"evaluate"`.
        words (`list[str]`):
            The command line after it.

    Returns:
        `bool`: whether help was all that was asked for.
    """
    for word, following in pairwise([*words, ""]):
        if word in ("-h", "--help"):
            print(_describe_all(command) if following == "all" else _describe(command, read_table()))
            return True
    try:
        _check(command, words, read_table())
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    return False


def _check(command: str, words: list[str], table: Table) -> None:
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


def _describe(command: str, table: Table) -> str:
    parts = [f"usage: {USAGE[command]}"]
    for heading, texts in table["shown"][command].items():
        parts += ["", heading, *(_line(name, text) for name, text in texts.items())]
    return "\n".join([*parts, *([LAUNCHING] if command == "train" else [])])


def _line(name: str, text: str) -> str:
    start = f"  --{name} ".ljust(INDENT)
    return textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=" " * INDENT, break_on_hyphens=False)


def _describe_all(command: str) -> str:
    """Every option, as TRL's parser describes it."""
    from trl import ModelConfig, TrlParser

    from ..evaluation.options import EvaluationArguments
    from ..recipe.options import RecipeArguments
    from ..trainer.config import REALConfig

    classes = [RecipeArguments, REALConfig, ModelConfig] if command == "train" else [EvaluationArguments]
    return TrlParser(classes, allow_abbrev=False, usage=USAGE[command]).format_help()
