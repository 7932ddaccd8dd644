"""The wheel, installed outside of the repository: the recipes come along, and a model is trained with them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.scripts import ROOT, python, write_recipe
from trl_real.recipe.shipped import recipe_paths


REWARD = "def is_odd(completions, **kwargs):\n    return [float(len(text) % 2) for text in completions]\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was installed in; what it requires is where the tests have it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"import hatchling.build; hatchling.build.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder / "site")]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return folder / "site"


def test_the_wheel_ships_every_module_every_recipe_and_the_typing_marker(installed: Path) -> None:
    recipes = [path for path in (ROOT / "recipes").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "trl_real").rglob("*.py")}
    wanted |= {f"trl_real/{path.relative_to(ROOT).as_posix()}" for path in recipes}
    shipped = [path.relative_to(installed) for path in (installed / "trl_real").rglob("*") if path.is_file()]
    found = {path.as_posix() for path in shipped if "__pycache__" not in path.parts}
    assert found == wanted | {"trl_real/py.typed", "trl_real/cli/options.json"}


def trl_real(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """The installed command, started in `folder`."""
    return python(str(installed / "bin" / "trl-real"), *words, cwd=folder, PYTHONPATH=str(installed))


def test_the_recipes_come_with_the_wheel_and_the_doctor_finds_nothing_broken(installed: Path, tmp_path: Path) -> None:
    names = [path.stem for path in recipe_paths(ROOT / "recipes")]
    listed = trl_real(installed, tmp_path, "recipes").stdout
    examined = trl_real(installed, tmp_path, "doctor")
    assert examined.returncode == 0, examined.stdout + examined.stderr
    assert all(name in listed and name in examined.stdout for name in names)


def test_two_steps_are_trained_outside_of_a_checkout(installed: Path, tmp_path: Path) -> None:
    write_recipe(tmp_path, reward_funcs="mine.is_odd", save_strategy="no", eval_strategy="no", eval_on_start=False)
    (tmp_path / "mine.py").write_text(REWARD)
    run = trl_real(installed, tmp_path, "train", "--config", "recipe.yaml", "--max_steps", "2")
    assert run.returncode == 0, run.stderr[-4000:]
    log = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert [record["step"] for record in log if "loss" in record] == [1, 2]


def test_recipes_find_their_files_outside_of_a_checkout(installed: Path, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    tiny = ["--model_name_or_path", "model", "--dry_run"]
    planned = trl_real(installed, tmp_path, "train", "--config", "quickstart", "--plot", "false", *tiny)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    shown = yaml.safe_load(trl_real(installed, tmp_path, "recipes", "show", "real_1p5b").stdout)
    assert (installed / "trl_real" / shown["deepspeed"]).is_file()
