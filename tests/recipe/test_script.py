"""recipes/train.py: the one command, from a recipe to a saved model, and its answers to bad recipes."""

import json
import re
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.scripts import python, write_recipe
from trl_real.cli import train as train_script
from trl_real.recipe.progress import TimeLeft


def logits(folder: Path, loader: type = AutoModelForCausalLM) -> torch.Tensor:
    tokens = AutoTokenizer.from_pretrained(folder)("w1 w2 w3", return_tensors="pt").input_ids
    with torch.no_grad():
        return loader.from_pretrained(folder, dtype=torch.float32).eval()(tokens).logits


def test_the_command_trains_reports_draws_and_saves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `plots`")
    recipe = write_recipe(tmp_path, plot=True)
    run = python("recipes/train.py", "--config", str(recipe), "--seed", "3")
    assert run.returncode == 0, run.stderr[-4000:]
    printed = run.stdout

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


def test_a_run_resumes_from_the_checkpoint_named(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, max_steps=2, logging_steps=2, eval_strategy="no", eval_on_start=False)
    train_script.main(["--config", str(recipe)])
    words = ["--max_steps", "4", "--resume_from_checkpoint", str(tmp_path / "out" / "checkpoint-2")]
    train_script.main(["--config", str(recipe), *words])
    log = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert [record["step"] for record in log if "loss" in record] == [2, 4]


def test_the_last_step_is_evaluated_if_only_the_start_was(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    recipe = write_recipe(tmp_path, eval_strategy="no", save_strategy="no")
    train_script.main(["--config", str(recipe)])
    assert re.search(r"before +step +0 .*\n +after +step +4 ", capsys.readouterr().out)


def test_the_best_checkpoint_is_kept_and_saved(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
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


def test_a_stream_that_ends_before_one_generation_is_an_error_and_saves_nothing(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, eval_strategy="no", eval_on_start=False, test_size=None)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(prompts.read_text().splitlines(keepends=True)[:7]))
    with pytest.raises(SystemExit, match="error: dataset_name: the stream ended .* takes 8 prompts"):
        train_script.main(["--config", str(recipe), "--dataset_streaming", "true"])
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_the_bars_of_training_and_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    recipe = write_recipe(tmp_path, save_strategy="no", per_device_eval_batch_size=8)
    train_script.main(["--config", str(recipe)])
    shown = capsys.readouterr().err
    assert "time left not known yet" in shown and re.search(r"about \d\d:\d\d left", shown)
    assert "evaluating" in shown and "evaluation, batches" in shown


def test_steps_that_sample_and_evaluations_are_counted_by_their_own_times() -> None:
    left = TimeLeft(period=4)
    left.add_step(1, 100.0)
    assert left.seconds(1, 9, 0) is None  # no other step has been seen
    left.add_step(2, 1.0)
    assert left.seconds(2, 9, 0) == 2 * 1 + 100 + 3 * 1 + 100  # steps 3, 4; 5; 6, 7, 8; 9
    assert left.seconds(8, 8, 0) == 0
    # Evaluations that are to come are counted once one has been seen
    left = TimeLeft(period=1)
    left.add_step(1, 2.0)
    assert left.seconds(1, 5, 2) == 8
    left.add_evaluation(10.0)
    assert left.seconds(1, 5, 2) == 28
