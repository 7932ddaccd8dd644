"""The command trl-real: its help, its recipes, and the words that go to the launcher."""

import dataclasses
import json
import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from trl import ModelConfig, TrlParser

from tests.support.scripts import ROOT, python
from trl_real import REALConfig
from trl_real.cli import main
from trl_real.cli.commands import COMMANDS
from trl_real.cli.launch import BOTH, parse_launch, split_launch
from trl_real.cli.overview import answered
from trl_real.cli.recipes import read_head
from trl_real.cli.table import FILE, NEEDED, build_table, read_table
from trl_real.evaluation.options import EvaluationArguments
from trl_real.recipe.options import RecipeArguments
from trl_real.recipe.shipped import find_shipped, recipe_paths


RECIPES = ROOT / "recipes"
TABLE = json.loads(FILE.read_text())
INSTALLED = {name: metadata.version(name) for name in TABLE["versions"]}
pinned = pytest.mark.skipif(INSTALLED != TABLE["versions"], reason=f"needs {TABLE['versions']}")


def run(capsys: pytest.CaptureFixture, *words: str) -> str:
    """What a command prints; one that ends the program must do so without an error."""
    try:
        main([*words])
    except SystemExit as end:
        assert not end.code
    return capsys.readouterr().out


def run_without_torch(words: str) -> str:
    block = "import sys; sys.modules.update(dict.fromkeys(('torch', 'trl', 'transformers', 'accelerate')))"
    ended = python("-c", f"{block}; from trl_real.cli import main; main({words.split()})")
    return ended.stdout + ended.stderr


def test_the_recipes_are_listed_without_torch() -> None:
    listed = run_without_torch("recipes")
    assert all(path.stem in listed for path in recipe_paths(RECIPES))


@pytest.mark.parametrize("path", recipe_paths(RECIPES), ids=lambda path: path.stem)
def test_the_list_has_purpose_and_hardware_of_a_recipe(path: Path) -> None:
    purpose, hardware = read_head(path)
    assert purpose.endswith((".", "?")) and "accelerate launch" not in purpose
    assert "GPU" in hardware or "CPU" in hardware


def test_a_recipe_is_shown_and_copied_but_not_over_a_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = (RECIPES / "real_lora.yaml").read_text()
    assert run(capsys, "recipes", "show", "real_lora") == text
    run(capsys, "recipes", "copy", "real_lora.yaml", str(tmp_path / "new"))
    assert (tmp_path / "new" / "real_lora.yaml").read_text() == text
    with pytest.raises(SystemExit, match="exists already"):
        main(["recipes", "copy", "real_lora", str(tmp_path / "new")])


@pytest.mark.parametrize("command", ["train", "evaluate", "compare", "figures", "recipes", "doctor", ""])
def test_help_fits_a_screen(command: str, capsys: pytest.CaptureFixture) -> None:
    lines = run(capsys, *command.split(), "--help").splitlines()
    assert 3 < len(lines) <= (80 if command == "train" else 50)  # no description is cut
    assert max(map(len, lines)) <= 110
    assert not re.search("--[a-z_]+[A-Z]", "\n".join(lines))  # a long name is apart from its text


def test_help_lists_the_commands_the_needed_options_and_with_all_every_field(capsys: pytest.CaptureFixture) -> None:
    assert all(f"  {name} " in run(capsys) for name in COMMANDS)
    every = run(capsys, "train", "--help", "all")
    assert all(f"--{field.name}" in every for field in dataclasses.fields(REALConfig))
    printed = " ".join(run(capsys, "train", "--help").split())
    assert all(f"--{name} " in printed for name in ("tau", *NEEDED))
    shown = read_table()["shown"]["train"].values()
    assert all(text in printed for texts in shown for text in texts.values())


@pinned
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --help", "--max_steps "),
        ("evaluate --help", "--samples "),
        ("train --config quickstart --learning_rat 1", "Did you mean `learning_rate`"),
        ("train --config quickstart --num_proceses 2", "Did you mean `num_processes`"),
        ("evaluate --sampels 2", "Did you mean `samples`"),
        ("train", "name a recipe"),
    ],
)
def test_help_and_mistakes_in_names_need_no_torch(words: str, said: str) -> None:
    assert said in run_without_torch(words)


@pinned
def test_the_table_of_options_is_what_the_dataclasses_say() -> None:
    assert build_table() == TABLE, "`make docs` writes it anew"


def test_the_table_of_options_is_that_of_the_pinned_versions() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(f"{name}=={version}" in pins for name, version in TABLE["versions"].items())


def test_other_versions_read_options_from_dataclasses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "options.json").write_text(json.dumps(TABLE | {"versions": {"trl": "1.0"}, "others": {}}))
    monkeypatch.setattr("trl_real.cli.table.FILE", tmp_path / "options.json")
    assert read_table() == build_table()


def test_every_option_of_the_parsers_passes_the_check_of_names() -> None:
    parsers = [TrlParser([RecipeArguments, REALConfig, ModelConfig]), launch_command_parser()]
    options = [text for parser in parsers for action in parser._actions for text in action.option_strings]
    known = [text for text in options if text.startswith("--") and text not in ("--help", "--config")]
    assert len(known) > 400 and not answered("train", ["--config", "quickstart", *known])


def test_no_option_of_the_programs_is_taken_for_one_of_the_launcher() -> None:
    launching = {text.lstrip("-") for action in launch_command_parser()._actions for text in action.option_strings}
    classes = (RecipeArguments, REALConfig, ModelConfig, EvaluationArguments)
    fields = {field.name for each in classes for field in dataclasses.fields(each)}
    assert launching & fields == BOTH


def test_options_of_launching_and_of_the_program_can_be_mixed() -> None:
    words = "--config a.yaml --num_processes 2 --learning_rate -1 --accelerate_config ddp --reward_funcs a b".split()
    launching, program = split_launch(words)
    assert launching == "--num_processes 2 --accelerate_config ddp".split()
    assert program == "--config a.yaml --learning_rate -1 --reward_funcs a b".split()


@pytest.mark.parametrize("name", ["single_gpu", "ddp", "fsdp2", "zero3", "multi_node"])
def test_a_launcher_file_is_found_from_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with parse_launch(["--accelerate_config", name, "--num_processes", "2"], ["--tau", "1"]) as arguments:
        content = yaml.safe_load(Path(arguments.config_file).read_text())
        deepspeed = content.get("deepspeed_config", {}).get("deepspeed_config_file")
        assert deepspeed is None or Path(deepspeed).is_file()
        assert arguments.num_processes == 2 and arguments.training_script_args == ["--tau", "1"]


def test_a_local_file_prevails_over_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "recipes/data/arithmetic"
    assert find_shipped(name, ROOT) == str(ROOT / name)
    assert find_shipped("someone/data", ROOT) == "someone/data"
    (tmp_path / name).mkdir(parents=True)
    assert find_shipped(name, ROOT) == name
