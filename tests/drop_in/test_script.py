"""TRL's own GRPO script becomes a REAL script when its two names are replaced."""

import json
import re
from pathlib import Path

import trl
from transformers import AutoModelForCausalLM

from tests.support.scripts import python
from tests.support.tiny import prompts_dataset
from tests.support.trainers import moved, save_tiny_model, weights


REWARDS = """
def even_start(completion_ids, **kwargs):
    return [float(ids[0] % 2 == 0) for ids in completion_ids]


def known_answer(answer, **kwargs):
    return [float(value % 2) for value in answer]
"""


def as_real(script: str) -> str:
    """
    The script with GRPOTrainer and GRPOConfig replaced by REALTrainer and REALConfig, and nothing else.

    The new names live in another package, so each of them moves from its `from trl import ...` to a line of its own.
    """
    script = re.sub(r"\bGRPO(Trainer|Config)\b", r"REAL\1", script)

    def split_import(match: re.Match) -> str:
        names = match["names"].split(", ")
        ours = [name for name in names if name.startswith("REAL")]
        theirs = [name for name in names if name not in ours]
        lines = [f"from trl_real import {', '.join(ours)}"] * bool(ours) + [f"from trl import {', '.join(theirs)}"]
        return "\n".join(match["indent"] + line for line in lines)

    return re.sub(r"^(?P<indent> *)from trl import (?P<names>.+)$", split_import, script, flags=re.M)


def test_the_installed_trl_script_trains_with_real(tmp_path: Path) -> None:
    script = tmp_path / "real.py"
    script.write_text(as_real(Path(trl.__file__).with_name("scripts").joinpath("grpo.py").read_text()))
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    data = prompts_dataset(12).add_column("answer", list(range(12)))
    data.select(range(8)).to_json(tmp_path / "data" / "train.jsonl")
    data.select(range(8, 12)).to_json(tmp_path / "data" / "test.jsonl")
    model = save_tiny_model(tmp_path / "model")
    recipe = dict(model_name_or_path=model, dtype="float32", dataset_name=str(tmp_path / "data"), report_to="none")
    recipe |= dict(reward_funcs=["my_rewards.even_start", "my_rewards.known_answer"], label_reward_func="even_start")
    recipe |= dict(output_dir=str(tmp_path / "run"), per_device_train_batch_size=4, per_device_eval_batch_size=4)
    recipe |= dict(gradient_accumulation_steps=2, steps_per_generation=4, num_generations=4, max_completion_length=6)
    recipe |= dict(max_steps=2, save_steps=2, eval_strategy="steps", eval_steps=2, logging_steps=1)
    recipe |= dict(bf16=False, use_cpu=True)
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    words = [str(script), "--config", "recipe.yaml", "--tau", "0.4", "--learning_rate", "0.01"]
    result = python(*words, cwd=tmp_path, HF_HOME=str(tmp_path / "cache"), HF_HUB_OFFLINE="1")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Training completed" in result.stdout
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    assert moved(weights(AutoModelForCausalLM.from_pretrained(model)), weights(trained))
    history = json.loads((tmp_path / "run" / "checkpoint-2" / "trainer_state.json").read_text())["log_history"]
    assert "rewards/known_answer/mean" in history[0]
    assert any("eval_rewards/even_start/mean" in entry for entry in history)
    assert "REAL" in (tmp_path / "run" / "README.md").read_text()
