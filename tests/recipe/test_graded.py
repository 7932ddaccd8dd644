"""recipes/graded.yaml: real questions whose scores are graded, the labels that they get, and the plan of the run."""

import re
from pathlib import Path

import pytest
import torch
from trl import ModelConfig

from tests.support.math_run import math_tokenizer, tiny_model
from tests.support.scripts import ROOT
from trl_real import REALConfig
from trl_real.cli import train as train_script
from trl_real.objective.labels import make_label_rule
from trl_real.recipe.inputs import load_inputs
from trl_real.recipe.options import RecipeArguments
from trl_real.recipe.reading import build_options, read_options


pytest.importorskip("reasoning_gym", reason="needs reasoning-gym")


def test_one_correct_letter_is_enough_for_a_label() -> None:
    classes = [RecipeArguments, REALConfig, ModelConfig]
    options, _ = read_options(["--config", "graded"], classes, ROOT / "recipes")
    recipe, training, model = build_options(options, classes)
    inputs = load_inputs(recipe, training, model)
    assert (inputs.train.num_rows, inputs.test.num_rows) == (500, 32)
    assert training.label_threshold == 0.3 and training.num_generations == 8
    [reward] = inputs.reward_funcs
    rule = make_label_rule(["reasoning_gym_reward"], training.label_threshold, training.label_reward_func)
    for row in inputs.test:
        word = row["answer"]
        texts = [word, f"{word}, which", f"{word[:2]}?", f"?{word[1:]}", word[0], f"?{word[1]}", "?", "??????"]
        columns = {name: [row[name]] * 8 for name in ("answer", "metadata")}
        rewards = reward(completions=texts, **columns)
        assert rewards == pytest.approx([1, 0.8, 2 / 3, 2 / 3, 1 / 3, 1 / 3, 0, 0])
        labels = rule.labels(torch.tensor([rewards]), torch.ones(1, 8))
        assert labels[0].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]


def test_the_run_is_planned_with_its_own_questions(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tiny_model().config.save_pretrained(tmp_path / "model")
    math_tokenizer().save_pretrained(tmp_path / "model")
    words = ["--model_name_or_path", str(tmp_path / "model"), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        train_script.main(["--config", "graded", "--dry_run", *words])
    text = capsys.readouterr().out
    assert end.value.code == 0, text
    for line in ("optimizer step +4 prompts = 32 rollouts; 4 optimizer", "train +500 prompts", "eval +32 prompts"):
        assert re.search(line, text), line
