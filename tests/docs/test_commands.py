"""What the documentation tells a reader to type or to write is what the programs understand."""

import ast
import dataclasses
import importlib
import importlib.util
import io
import re
import runpy
import sys
import tomllib
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from trl import ModelConfig

import trl_real
from tests.docs.pages import PAGES, ROOT, blocks, commands, words
from trl_real import REALConfig
from trl_real.cli.commands import COMMANDS
from trl_real.cli.compare import parse as parse_compare
from trl_real.cli.launch import split_launch
from trl_real.cli.recipes import parse as parse_recipes
from trl_real.comparison.methods import METHODS as COMPARED
from trl_real.comparison.study import read_studies
from trl_real.evaluation.options import EvaluationArguments
from trl_real.recipe.methods import METHODS
from trl_real.recipe.options import RecipeArguments
from trl_real.recipe.reading import build_options, read_method, read_options
from trl_real.recipe.shipped import find_recipe
from trl_real.recipe.words import split_config


RECIPES = ROOT / "recipes"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHOWN = [(page, command) for page, text in PAGES.items() for command in dict.fromkeys(commands(text))]


def write_recipes(page: str, folder: Path) -> None:
    """The recipes that a page spells out, under the names by which it calls them."""
    names = dict.fromkeys(re.findall(r"`(\w+\.yaml)`:\n", PAGES[page]))
    for name, content in zip(names, blocks(PAGES[page], "yaml"), strict=False):
        (folder / name).write_text(content)


def check_train(arguments: list[str], folder: Path) -> None:
    config, _ = split_config(arguments)
    if config is not None and not (folder / config).exists():
        folder = RECIPES
    method = METHODS[read_method(arguments, folder)][1]
    read_options(arguments, [RecipeArguments, method, ModelConfig], folder)


def check_evaluate(arguments: list[str], folder: Path) -> None:
    config, rest = split_config(arguments)
    assert config is None or (RECIPES / config).is_file() or (folder / config).is_file()
    read_options(rest, [EvaluationArguments], RECIPES)


def check_compare(arguments: list[str], folder: Path) -> None:
    if not arguments:  # its name in the running text
        return
    options, rest = parse_compare(arguments)
    named = [path for path in (options.study, options.records) if path]
    assert all((ROOT / path).is_file() or (folder / path).is_file() for path in named)
    assert set(options.methods or []) <= COMPARED.keys()
    if options.config and options.config != "mine.yaml":
        check_train(["--config", options.config, *rest], folder)


def check_recipes(arguments: list[str], folder: Path) -> None:
    name = getattr(parse_recipes(arguments), "name", "NAME")
    assert name == "NAME" or find_recipe(name, RECIPES).parent == RECIPES


def check_installed(arguments: list[str], folder: Path) -> None:
    """`trl-real ...`; the options of launching are accelerate's, the others those of the scripts."""
    verb, *rest = arguments
    if verb == "train":
        launching, rest = split_launch(rest)
        options = dict(zip(launching[::2], launching[1::2], strict=True))
        assert options.keys() <= {"--accelerate_config", "--num_processes"}
        name = options.get("--accelerate_config", "ddp")
        assert (RECIPES / "accelerate" / f"{name}.yaml").is_file() or (ROOT / name).is_file()
    checks = {"train": check_train, "evaluate": check_evaluate, "recipes": check_recipes, "compare": check_compare}
    if verb in checks:
        checks[verb](rest, folder)
    else:
        assert verb in COMMANDS
        importlib.import_module(f"trl_real.cli.{verb}").parse(rest)


@cache
def help_of(script: str) -> str:
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", [script, "--help"])
        patch.syspath_prepend(ROOT / Path(script).parent)
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / script), run_name="__main__")
    return printed.getvalue()


def check_script(script: str, arguments: list[str], folder: Path) -> None:
    """A file of the repository."""
    assert (ROOT / script).is_file()
    if script in ("recipes/train.py", "recipes/evaluate.py"):
        (check_train if "train" in script else check_evaluate)(arguments, folder)
    else:
        unknown = {word for word in arguments if word.startswith("--")} - set(re.findall(r"--\w+", help_of(script)))
        assert not unknown


def check_python(arguments: list[str], folder: Path) -> None:
    if arguments[:2] == ["-m", "torch.distributed.run"]:
        script = next(number for number, word in enumerate(arguments) if word.endswith(".py"))
        check_script(arguments[script], arguments[script + 1 :], folder)
    elif arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1])
    else:
        check_script(arguments[0], arguments[1:], folder)


def check_accelerate(arguments: list[str], folder: Path) -> None:
    assert arguments[0] == "launch"
    launch = launch_command_parser().parse_args(arguments[1:])
    assert launch.config_file is None or (ROOT / launch.config_file).is_file()
    check_script(launch.training_script, launch.training_script_args, folder)


def check_pip(arguments: list[str], folder: Path) -> None:
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def check_make(arguments: list[str], folder: Path) -> None:
    assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


CHECKS = {
    "trl-real": check_installed,
    "accelerate": check_accelerate,
    "python": check_python,
    "pip": check_pip,
    "make": check_make,
    "trl": lambda arguments, _: importlib.import_module(f"trl.scripts.{arguments[0].replace('-', '_')}"),
}


@pytest.mark.parametrize(("page", "command"), SHOWN, ids=[f"{page}: {command}" for page, command in SHOWN])
def test_a_command_names_files_and_options_that_exist(page: str, command: str, tmp_path: Path) -> None:
    write_recipes(page, tmp_path)
    program, *arguments = words(command)
    CHECKS[program](arguments, tmp_path)


def test_commands_are_found_at_all() -> None:
    for program in CHECKS:
        assert any(command.startswith(f"{program} ") for _, command in SHOWN), program


RECIPE_BLOCKS = [(page, block) for page, text in PAGES.items() for block in blocks(text, "yaml")]


@pytest.mark.parametrize(("page", "block"), RECIPE_BLOCKS, ids=[page for page, _ in RECIPE_BLOCKS])
def test_a_recipe_on_a_page_is_valid(page: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shown.yaml").write_text(block)
    (tmp_path / "my_objective.py").write_text("\n\n".join(blocks(PAGES[page], "python")))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_objective", raising=False)
    if "studies" in yaml.safe_load(block):
        assert read_studies(tmp_path / "shown.yaml", RECIPES)
        return
    assert isinstance(yaml.safe_load(block), dict)
    classes = [RecipeArguments, REALConfig, ModelConfig]
    options, _ = read_options(["--config", "shown.yaml", "--use_cpu", "true", "--bf16", "false"], classes, tmp_path)
    build_options(options, classes)


CODE = [(page, block) for page, text in PAGES.items() for block in blocks(text, "python")]


@pytest.mark.parametrize(("page", "block"), CODE, ids=[page for page, _ in CODE])
def test_code_on_a_page_imports_names_and_sets_fields_that_exist(page: str, block: str) -> None:
    fields = {field.name for field in dataclasses.fields(REALConfig)}
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == trl_real.__name__:
            assert all(hasattr(importlib.import_module(node.module), alias.name) for alias in node.names)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "REALConfig":
            assert {keyword.arg for keyword in node.keywords} <= fields
