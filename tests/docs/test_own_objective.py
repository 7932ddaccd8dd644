"""The examples of docs/guides/own-objective.md are those that the tests train; a recipe names them so."""

import sys
from pathlib import Path

import pytest

from tests.docs.pages import BLOCK, PAGES, ROOT, blocks
from tests.support.scripts import write_recipe
from trl_real.cli import train


PAGE = PAGES["docs/guides/own-objective.md"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a run is started in: a model, prompts, the module and the recipe of the page."""
    options = dict(reward_funcs="tests.support.trainers.even_start", max_steps=2, save_strategy="no", test_size=None)
    recipe = write_recipe(tmp_path, **options, eval_strategy="no", eval_on_start=False)
    (tmp_path / "my_objective.py").write_text("\n\n".join(blocks(PAGE, "python")))
    (tmp_path / "own.yaml").write_text(recipe.read_text() + blocks(PAGE, "yaml")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_objective", raising=False)
    return tmp_path


def test_the_page_has_the_examples_that_are_trained() -> None:
    examples = (ROOT / "docs/examples/own_objective.py").read_text().split('"""\n\n', 1)[1]
    assert "\n\n".join(blocks(PAGE, "python")) == examples


def test_the_page_is_short() -> None:
    assert len(BLOCK.sub("", PAGE).split()) < 450


@pytest.mark.parametrize("more", ["", "--loss_type my_objective:smoothed --label_func none"])
def test_a_recipe_names_functions_by_import_path(folder: Path, capsys: pytest.CaptureFixture, more: str) -> None:
    train.main(["--config", "own.yaml", *more.split()])
    said = capsys.readouterr().out
    assert ("correct = my_objective:quarters of even_start" in said) == (not more)
    assert ("correct = even_start > 0.5" in said) == bool(more)
    assert (folder / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--loss_type my_objective:all_pears", "`loss_type`: cannot import 'my_objective:all_pears'"),
        ("--label_func my_objectives:quarters", "`label_func`: cannot import 'my_objectives:quarters'"),
        ("--loss_type my_objective:quarters", "`loss_type`: the function failed (TypeError"),
        ("--loss_type all_pairs", "loss_type: all_pairs is not a loss of REAL (real, real_no_anchor, bce, or package"),
        ("--method grpo", "there is no field `label_func`"),
    ],
)
def test_a_function_that_is_not_there_is_named(folder: Path, words: str, said: str) -> None:
    with pytest.raises(SystemExit) as end:
        train.main(["--config", "own.yaml", *words.split()])
    assert said in str(end.value)
