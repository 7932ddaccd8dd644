"""
The help of a program: its own options on one screen, everything with `--help all`.

In: the dataclasses of the options. Out: text. Left out: what TRL and Transformers say of theirs, which their parser
prints.
"""

import dataclasses
import textwrap
from collections.abc import Iterable
from itertools import pairwise

from trl import ModelConfig, ScriptArguments, TrlParser

from ..evaluation.options import EvaluationArguments
from ..recipe.options import RecipeArguments
from ..trainer.config import REALConfig
from ..validation.config import ValidationConfig


WIDTH = 100
TRAIN_USAGE = "trl-real train --config NAME_OR_PATH [--field value ...] [options of launching]"
EVALUATE_USAGE = "trl-real evaluate [--config NAME_OR_PATH] [--field value ...]"
LAUNCHING = """\
Launching, through Accelerate; without, all GPUs of this machine:
  --accelerate_config       single_gpu, ddp, fsdp2, zero3, multi_node, or a file of `accelerate config`
  --num_processes           and all other options of `accelerate launch`"""


def train_help(words: list[str]) -> str | None:
    """The help of `trl-real train`, if the command line asks for it."""
    wanted = _wanted(words)
    if wanted == "all":
        return _describe_all([RecipeArguments, REALConfig, ModelConfig], TRAIN_USAGE)
    parts = [
        f"usage: {TRAIN_USAGE}",
        "\nWhat a recipe says (`trl-real recipes` lists them); each field is an option, too:",
        _describe_fields(RecipeArguments, _own_fields(RecipeArguments, ScriptArguments)),
        "\nThe objective:",
        _describe_fields(REALConfig, _own_fields(REALConfig, ValidationConfig)),
        f"\n{LAUNCHING}",
        "\nAll fields, also those of GRPOConfig and ModelConfig: trl-real train --help all",
    ]
    return "\n".join(parts) if wanted else None


def evaluate_help(words: list[str]) -> str | None:
    """The help of `trl-real evaluate`, if the command line asks for it."""
    wanted = _wanted(words)
    if wanted == "all":
        return _describe_all([EvaluationArguments], EVALUATE_USAGE)
    text = _describe_fields(EvaluationArguments, [field.name for field in dataclasses.fields(EvaluationArguments)])
    return f"usage: {EVALUATE_USAGE}\n\nWhat is evaluated, and how:\n{text}" if wanted else None


def _wanted(words: list[str]) -> str | None:
    """`"own"` or `"all"` if the command line asks for help."""
    for word, following in pairwise([*words, ""]):
        if word in ("-h", "--help"):
            return "all" if following == "all" else "own"
    return None


def _describe_fields(option_class: type, names: Iterable[str]) -> str:
    """One line for each of the fields `names`, cut to the screen."""
    fields = {field.name: field for field in dataclasses.fields(option_class)}
    lines = []
    for name in names:
        start = f"  --{name}  ".ljust(28)
        text = " ".join(str(fields[name].metadata["help"]).replace("%%", "%").split())
        lines.append(start + textwrap.shorten(text, WIDTH - len(start), placeholder=" ..."))
    return "\n".join(lines)


def _own_fields(option_class: type, base: type) -> list[str]:
    """Names of the fields that a class has and `base` has not."""
    known = {field.name for field in dataclasses.fields(base)}
    return [field.name for field in dataclasses.fields(option_class) if field.name not in known]


def _describe_all(option_classes: list[type], usage: str) -> str:
    """Every option, as TRL's parser describes it."""
    return TrlParser(option_classes, allow_abbrev=False, usage=usage).format_help()
