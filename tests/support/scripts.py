"""What the tests of recipes/train.py share: a tiny model on disk, a recipe for it, and a reward it can earn."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset

from tests.support.tiny import WORDS, tiny_tokenizer
from tests.support.trainers import tiny_llama


ROOT = Path(__file__).parents[2]


def first_word_is_even(completions: list[str], **kwargs: Any) -> list[float]:
    """Right in about half of the completions of an untrained model, so that most groups are mixed."""
    words = [text.split() for text in completions]
    return [float(bool(each) and each[0] in WORDS[::2]) for each in words]


def kills_the_second_process(completions: list[str], trainer_state: Any, **kwargs: Any) -> list[float]:
    """As above, but after two optimizer steps one of the processes is no more."""
    if trainer_state.global_step == 2 and os.environ.get("RANK") == "1":
        Path(os.environ["KILLED"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return first_word_is_even(completions)


def python(*words: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess:
    """Runs Python on these words, which finds this checkout; how it ended and what it printed."""
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1") | variables
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def write_recipe(folder: Path, weights: bool = True, **fields: Any) -> Path:
    """A model folder, a file of prompts and a recipe for 4 optimizer steps of 2 generations; returns the recipe."""
    model = tiny_llama()
    (model if weights else model.config).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [{"prompt": f"{first} {second}"} for first in WORDS[:6] for second in WORDS[6:10]]
    Dataset.from_list(rows).to_json(folder / "prompts.jsonl")
    recipe = dict(model_name_or_path=str(folder / "model"), dataset_name=str(folder / "prompts.jsonl"), test_size=8)
    recipe |= dict(reward_funcs=["tests.support.scripts.first_word_is_even"], output_dir=str(folder / "out"))
    recipe |= dict(num_generations=4, per_device_train_batch_size=16, steps_per_generation=2, max_steps=4)
    recipe |= dict(max_completion_length=4, learning_rate=0.01, lr_scheduler_type="constant", logging_steps=1)
    recipe |= dict(eval_strategy="steps", eval_steps=2, eval_on_start=True, per_device_eval_batch_size=32)
    recipe |= dict(use_cpu=True, bf16=False, report_to="none", save_strategy="steps", save_steps=2)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe | fields))
    return path
