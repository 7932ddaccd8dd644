"""`trl-real recipes`: lists the recipes of the package by the comments at their heads, shows and copies them."""

import argparse
import os
import re
import shutil
import sys
import textwrap
from pathlib import Path

from ..recipe.shipped import find_recipe, recipe_paths, recipes_folder


DEFAULT_MODEL = "models/SmolLM2-135M-Instruct"


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "trl-real recipes", description="The recipes that come with the package: YAML files for trl-real train."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="purpose and hardware of each (the default)")
    show = commands.add_parser("show", help="print a recipe")
    copy = commands.add_parser("copy", help="write a copy of a recipe, to edit")
    for command in (show, copy):
        command.add_argument("name", metavar="NAME", help="name of the recipe, with or without .yaml")
    copy.add_argument("folder", metavar="FOLDER", nargs="?", default=".", help="target folder (default: this one)")
    model = commands.add_parser("model", help="write the model folder that the quickstart starts from")
    model.add_argument("--output_dir", type=Path, default=Path(DEFAULT_MODEL), help="default: %(default)s")
    return parser.parse_args(words)


def read_head(path: Path) -> tuple[str, str]:
    """Purpose and hardware, from the comment at the head of a recipe."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    purpose = " ".join("\n".join(lines).partition("\n\n")[0].split())
    hardware = re.search(r"Hardware: (.+?)(?:[.;](?:\s|$)|$)", " ".join(lines))
    return purpose, hardware[1] if hardware else ""


def list_recipes(folder: Path, width: int) -> str:
    """A few lines for each recipe, `width` columns at most."""
    heads = {path.stem: read_head(path) for path in recipe_paths(folder)}
    indent = " " * (max(map(len, heads)) + 2)
    blocks = []
    for name, (purpose, hardware) in heads.items():
        text = textwrap.fill(purpose, width, initial_indent=name.ljust(len(indent)), subsequent_indent=indent)
        blocks.append(f"{text}\n{indent}[{hardware}]")
    return "\n".join(blocks)


def copy_recipe(source: Path, folder: Path) -> Path:
    """Copies a recipe into a folder, which is created if needed; never over a file."""
    target = folder / source.name
    if target.exists():
        raise ValueError(f"copy: {target} exists already; name another folder, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, target))


def main(words: list[str]) -> None:
    arguments, folder = parse(words), recipes_folder()
    try:
        if arguments.command == "show":
            print(find_recipe(arguments.name, folder).read_text("utf-8"), end="")
        elif arguments.command == "copy":
            target = copy_recipe(find_recipe(arguments.name, folder), Path(arguments.folder))
            print(f"Wrote {target}. Train with: trl-real train --config {target}")
        elif arguments.command == "model":
            from .smollm2 import prepare_model

            prepare_model(arguments.output_dir)
        else:
            print(list_recipes(folder, shutil.get_terminal_size().columns))
            print("\ntrl-real recipes show NAME | copy NAME [FOLDER]; trl-real train --config NAME")
    except BrokenPipeError:  # of `| head`; nothing may be written when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
