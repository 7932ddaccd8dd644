"""What a recipe says of its data is what the trainer gets."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from trl import ModelConfig

from trl_real.evaluation.trained_on import find_training_data
from trl_real.recipe.held_out import _load_rows
from trl_real.recipe.inputs import load_inputs
from trl_real.recipe.options import RecipeArguments
from trl_real.validation.config import ValidationConfig


def math_recipe(folder: Path, **fields: Any) -> RecipeArguments:
    """A recipe whose training set holds the only problem of its evaluation set."""
    shared = {"problem": "What is one and one?", "answer": "2"}
    other = {"problem": "What is two and two?", "answer": "4"}
    for name, rows in {"train": [other, shared], "exam": [shared]}.items():
        Dataset.from_list(rows).to_parquet(folder / f"{name}.parquet")
    names = dict(dataset_name=str(folder / "train.parquet"), eval_dataset_name=str(folder / "exam.parquet"))
    fields |= dict(dataset_format="math", eval_dataset_split="train", verify_answers=False)
    return RecipeArguments(**names, **fields, reward_funcs=["math_reward"])


def training(folder: Path) -> ValidationConfig:
    return ValidationConfig(output_dir=str(folder), use_cpu=True, bf16=False, eval_on_start=True)


def test_decontaminate_removes_the_benchmark_from_the_training_set_only(tmp_path: Path) -> None:
    recipe = math_recipe(tmp_path, decontaminate=str(tmp_path / "exam.parquet"))  # YAML without brackets
    inputs = load_inputs(recipe, training(tmp_path), ModelConfig(model_name_or_path="someone/base"))
    assert [row["answer"] for row in inputs.train] == [["4"]]
    assert [row["answer"] for row in inputs.test] == [["2"]]
    assert {part: report.counts["contaminated"] for part, report in inputs.reports.items()} == {"train": 1, "eval": 0}
    # The evaluation takes the same set, and reads in the folder of the run what it was trained on
    assert [row["answer"] for row in _load_rows(recipe, training(tmp_path), ModelConfig())] == [["2"]]
    assert len(list(inputs.write_reports(tmp_path / "run"))) == 2
    trained_on = dict(dataset_name=recipe.dataset_name, decontaminate=[str(tmp_path / "exam.parquet")])
    assert find_training_data(str(tmp_path / "run")) == [trained_on]


@pytest.mark.parametrize("form", ["math", None])
@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"eval_dataset_name": "nowhere.jsonl"}, "eval_dataset_name: there is no file or folder nowhere.jsonl"),
        ({"eval_dataset_name": "no-such-name/anywhere"}, "eval_dataset_name: no-such-name/anywhere is not a local"),
        ({"eval_dataset_split": "exam"}, "eval_dataset_split: there is no split 'exam', only train"),
    ],
)
def test_bad_evaluation_sets_are_named(tmp_path: Path, form: str | None, own: dict[str, str], message: str) -> None:
    rows = Dataset.from_list([{"prompt": "1+1", "answer": "2"}])
    for name in ("train", "exam"):
        rows.to_parquet(tmp_path / f"{name}.parquet")
    fields = {"dataset_name": str(tmp_path / "train.parquet"), "eval_dataset_name": str(tmp_path / "exam.parquet")}
    fields |= {"dataset_format": form, "reward_funcs": ["math_reward"], "eval_dataset_split": "train"} | own
    recipe = RecipeArguments(**fields)
    for load in (load_inputs, _load_rows):
        with pytest.raises(ValueError, match=f"^{message}"):
            load(recipe, training(tmp_path), ModelConfig())
