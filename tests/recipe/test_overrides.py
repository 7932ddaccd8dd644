"""The command line over the recipe: `none` unsets, and a local data set does without what is said of the hub's."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from trl import ModelConfig

from trl_real import REALConfig
from trl_real.recipe.options import RecipeArguments
from trl_real.recipe.reading import read_options


CLASSES = [RecipeArguments, REALConfig, ModelConfig]
HUB = dict(dataset_name="someone/sums", dataset_config="all", dataset_train_split="big", eval_dataset_name="some/exam")
HUB |= dict(eval_dataset_split="validation")


def options(folder: Path, words: str, **recipe: Any) -> tuple[dict[str, Any], set[str]]:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return read_options(["--config=recipe", *words.split()], CLASSES, folder)  # a bare name is enough


@pytest.mark.parametrize("words", ["--label_threshold none", "--label_threshold=None", "--label_threshold null"])
def test_none_unsets_an_optional_field_of_any_type(tmp_path: Path, words: str) -> None:
    read, given = options(tmp_path, f"{words} --deepspeed none --seed 3", label_threshold=0.8, deepspeed="x.json")
    assert (read["label_threshold"], read["deepspeed"], read["seed"]) == (None, None, 3)
    assert {"label_threshold", "deepspeed"} <= given


def test_none_stays_a_value_where_it_has_a_meaning_and_an_error_for_a_number(tmp_path: Path) -> None:
    assert options(tmp_path, "--report_to none --reward_funcs none other")[0]["report_to"] == ["none"]
    with pytest.raises(ValueError, match="tau: invalid float value: 'none'"):
        options(tmp_path, "--tau none")


@pytest.mark.parametrize("file", [True, False])
def test_a_local_data_set_unsets_hub_options(tmp_path: Path, caplog: pytest.LogCaptureFixture, file: bool) -> None:
    local = tmp_path / "mine.jsonl"
    local.touch() if file else local.mkdir()
    with caplog.at_level(logging.WARNING):
        read, _ = options(tmp_path, f"--dataset_name {local}", **HUB)
    assert read["dataset_config"] is None
    assert read["dataset_train_split"] == ("train" if file else "big")
    assert (read["eval_dataset_name"], read["eval_dataset_split"]) == ("some/exam", "validation")
    [line] = caplog.messages
    assert "mine.jsonl is local, so dataset_config: all" in line and ("dataset_train_split: big" in line) == file


def test_what_the_command_line_says_itself_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mine.jsonl").touch()
    read, _ = options(tmp_path, f"--dataset_name {tmp_path}/mine.jsonl --dataset_config other", **HUB)
    assert read["dataset_config"] == "other"
    read, _ = options(tmp_path, "--dataset_name other/sums", **HUB)
    assert (read["dataset_config"], read["dataset_train_split"]) == ("all", "big")


def test_a_local_evaluation_file_has_the_one_split_that_files_have(tmp_path: Path) -> None:
    (tmp_path / "exam.jsonl").touch()
    name = f"--eval_dataset_name {tmp_path}/exam.jsonl"
    assert options(tmp_path, name, **HUB)[0]["eval_dataset_split"] == "train"
    assert options(tmp_path, name)[0]["eval_dataset_split"] == "train"
    assert options(tmp_path, f"{name} --eval_dataset_split exam")[0]["eval_dataset_split"] == "exam"
