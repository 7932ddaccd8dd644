"""recipes/train.py: the one command, from a recipe to a saved model, and its answers to bad recipes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import ModelConfig

from tests.support.scripts import ROOT, load_script, write_recipe
from trl_real import REALConfig
from trl_real.cli.recipes import DEFAULT_MODEL
from trl_real.recipe.options import RecipeArguments
from trl_real.recipe.reading import build_options, read_options


OPTIONS = [RecipeArguments, REALConfig, ModelConfig]
train_script = load_script("train")


def parse_recipe(argv: list[str], folder: Path) -> tuple:
    return build_options(read_options(argv, OPTIONS, folder)[0], OPTIONS)


def logits(folder: Path, loader: type = AutoModelForCausalLM) -> torch.Tensor:
    tokens = AutoTokenizer.from_pretrained(folder)("w1 w2 w3", return_tensors="pt").input_ids
    with torch.no_grad():
        return loader.from_pretrained(folder, dtype=torch.float32).eval()(tokens).logits


def test_the_command_trains_reports_draws_and_saves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `plots`")
    recipe = write_recipe(tmp_path, plot=True)
    command = [sys.executable, "recipes/train.py", "--config", str(recipe), "--seed", "3"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    log = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    rewards = {record["step"]: record["eval_reward"] for record in log if "eval_reward" in record}
    assert list(rewards) == [0, 2, 4]
    assert "8 questions x 4 samples" in printed
    assert re.search(rf"before +step +0 +{rewards[0]:.3f} ± 0\.0\d\d", printed)
    assert re.search(rf"after +step +4 +{rewards[4]:.3f} ± 0\.\d\d\d", printed)
    assert (tmp_path / "out" / "training.png").stat().st_size > 10_000
    assert not torch.equal(logits(tmp_path / "out"), logits(tmp_path / "model"))


def test_lora_leaves_an_adapter_and_the_merged_model_it_makes(tmp_path: Path) -> None:
    options = {"use_peft": True, "lora_target_modules": "all-linear", "save_merged": True, "eval_strategy": "no"}
    recipe = write_recipe(tmp_path, eval_on_start=False, **options)
    train_script.main(["--config", str(recipe)])
    adapted = logits(tmp_path / "out", AutoPeftModelForCausalLM)
    assert (tmp_path / "out" / "adapter_config.json").exists()
    assert not (tmp_path / "out" / "merged" / "adapter_config.json").exists()
    torch.testing.assert_close(logits(tmp_path / "out" / "merged"), adapted, rtol=1e-4, atol=1e-4)
    assert (adapted - logits(tmp_path / "model")).abs().max() > 1e-3


@pytest.mark.parametrize("wanted", ["true", "{output_dir}/checkpoint-2"])
def test_a_run_resumes_from_its_last_checkpoint_or_from_the_one_named(tmp_path: Path, wanted: str) -> None:
    recipe = write_recipe(tmp_path, max_steps=2, logging_steps=2, eval_strategy="no", eval_on_start=False)
    train_script.main(["--config", str(recipe)])
    wanted = wanted.format(output_dir=tmp_path / "out")
    train_script.main(["--config", str(recipe), "--max_steps", "4", "--resume_from_checkpoint", wanted])
    log = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert [record["step"] for record in log if "loss" in record] == [2, 4]


def test_without_evaluation_the_last_step_is_evaluated_where_only_the_start_was(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe = write_recipe(tmp_path, eval_strategy="no", save_strategy="no")
    train_script.main(["--config", str(recipe)])
    assert re.search(r"before +step +0 .*\n +after +step +4 ", capsys.readouterr().out)


def test_the_best_checkpoint_by_a_named_evaluation_set_is_kept_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = dict(eval_name="held", metric_for_best_model="held_avg@4", load_best_model_at_end=True)
    recipe = write_recipe(tmp_path, **options, save_strategy="best", save_total_limit=1, eval_steps=1)
    train_script.main(["--config", str(recipe)])
    log = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    found = {record["step"]: record["eval_held_avg@4"] for record in log if "eval_held_avg@4" in record}
    assert list(found) == [0, 1, 2, 3, 4]
    best = max(range(1, 5), key=found.get)
    assert torch.equal(logits(tmp_path / "out"), logits(tmp_path / "out" / f"checkpoint-{best}"))
    printed = capsys.readouterr().out
    assert f"checkpoint-{best} (held_avg@4 {found[best]:.3f}), which was saved" in printed
    assert re.search(rf"before +step +0 +{found[0]:.3f} ", printed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--config quikstart.yaml", "config: there is no file quikstart.yaml.* Did you mean `quickstart.yaml`"),
        ("--config quikstart.yaml", "config: there is no file quikstart.yaml.* The recipes are bce_1p5b, .*real_lora"),
        ("--config", "config: --config needs a path.* The recipes are bce_1p5b"),
        ("--learning_rat 1", "no option `--learning_rat`. Did you mean `learning_rate`"),
        ("--num-generatons=4", "no option `--num_generatons`. Did you mean `num_generations`"),
        ("--learning_rate fast", "learning_rate: invalid float value: 'fast'"),
        ("--dataset_format none", "dataset_format: invalid choice: 'none' \\(choose from '?math"),
        ("--num_gen 4", "no option `--num_gen`."),
        ("--max_steps 3 4", "`4` on the command line belongs to no option"),
        ("--model_name_or_path nowhere/at-all", "model_name_or_path: nowhere/at-all is no model folder"),
        ("--dataset_name nowhere.jsonl", "dataset_name: there is no file or folder nowhere.jsonl"),
        ("--dataset_name {folder}/unnamed.jsonl", "has no column `prompt`, only question"),
        ("--dataset_train_split training", "dataset_train_split: there is no split 'training', only train"),
        ("--reward_funcs acuracy_reward", "reward_funcs: .*did you mean `accuracy_reward`"),
        ("--reward_funcs tests.support.tiny.missing", "reward_funcs: cannot import `tests.support.tiny.missing`"),
        ("--reward_funcs first_integer_reward", "reward_funcs: first_integer_reward needs a column `answer`"),
        ("--resume_from_checkpoint {folder}", "resume_from_checkpoint: .* incomplete .trainer_state.json is missing."),
        ("--resume_from_checkpoint elsewhere", "resume_from_checkpoint: there is no folder elsewhere"),
        ("--save_merged", "save_merged: without use_peft"),
        ("--metric_for_best_model avg@3", "`metric_for_best_model` is 'avg@3'.* Write one of eval_avg@4, eval_pass@4"),
        ("--eval_temperature -1", "`eval_temperature` must be a number from 0"),
        ("--tau 0", "tau"),
        ("--num_generations 5", "number of generations"),
    ],
)
def test_a_bad_recipe_ends_in_one_clear_line_before_any_weight_is_read(
    tmp_path: Path, words: str, message: str
) -> None:
    recipe = write_recipe(tmp_path, weights=False)  # reading weights would fail in another way
    Dataset.from_list([{"question": "w1"}]).to_json(tmp_path / "unnamed.jsonl")
    config = [] if "--config" in words else ["--config", str(recipe)]
    with pytest.raises(SystemExit) as error:
        train_script.main([*config, *words.format(folder=tmp_path).split()])
    assert re.match(f"error: .*{message}", str(error.value), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rte: 0.1", "there is no field `learning_rte`. Did you mean `learning_rate`"),
        ("learning_rate: fast", "learning_rate: invalid float value: 'fast'"),
        ("zzzzzz: 1", "there is no field `zzzzzz`.$"),
        ("config: other.yaml", "there is no field `config`"),
    ],
)
def test_a_misspelt_field_of_the_recipe_is_an_error_that_names_the_nearest(
    tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "recipe.yaml").write_text(line)
    with pytest.raises(ValueError, match=message):
        parse_recipe(["--config", str(tmp_path / "recipe.yaml")], tmp_path)


def test_the_command_line_overrides_the_recipe_and_a_bare_name_is_enough(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("tau: 0.25\nmax_steps: 7\nuse_cpu: true\nbf16: false\nreward_funcs: [a, b]")
    for name in (["--config", "small.yaml"], ["--config=small"]):
        recipe, training, _ = parse_recipe([*name, "--tau", "0.1"], tmp_path)
        assert (training.tau, training.max_steps, recipe.reward_funcs) == (0.1, 7, ["a", "b"])


def test_the_quickstart_parses_and_names_what_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "recipes" / "quickstart.yaml"
    recipe, training, model = parse_recipe(["--config", path.name], path.parent)
    monkeypatch.chdir(ROOT)
    assert model.model_name_or_path == DEFAULT_MODEL
    assert train_script.load_inputs(recipe, training, model).test.num_rows == 48
    for command in re.findall(r"--config (\S+)", path.read_text()):
        assert (path.parent / command).exists()
