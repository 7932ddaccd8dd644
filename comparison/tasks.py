"""
What a comparison trains on: chains for a model made here (`chain.py`), or questions for a pretrained language model.

In: a task of the plan. Out: its prompts, held out and for training, its reward and the longest completion. Held-out
prompts are the same in every cell, and no training draws them. Left out: loading the model, which the cell does.
"""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl_real.data.loading import load_prompts
from trl_real.rewards.functions import resolve_reward_func

from . import chain


Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """
    Args:
        validation, test (`list[dict]`):
            Held-out rows with `prompt` and `answer`.
        reward (`Callable`):
            As TRL calls it, in training.
        right (`Callable`):
            The same for what is scored: 1 for a right completion, else 0.
        completion_tokens (`int`):
            Where completions are cut.
        draw (`Callable[[int, int], list[dict]]`):
            Training rows for a seed and a number of prompts that the steps take.
    """

    validation: list[Row]
    test: list[Row]
    reward: Callable[..., list[float]]
    right: Callable[..., list[float]]
    completion_tokens: int
    draw: Callable[[int, int], list[Row]]


def completion_tokens(options: dict[str, Any]) -> int:
    """Where completions of a task are cut; a chain's are its running values, an end, and two tokens to spare."""
    return options["completion_tokens"] if "dataset" in options else options["length"] + 3


def load_task(options: dict[str, Any]) -> Task:
    """The task that a plan describes; chains, unless it names a data set."""
    return language_task(options) if "dataset" in options else chain_task(options)


def split(rows: list[Row], options: dict[str, Any]) -> tuple[list[Row], list[Row]]:
    """Validation and test prompts."""
    number = options["validation_prompts"]
    return rows[:number], rows[number : number + options["test_prompts"]]


def chain_task(options: dict[str, Any]) -> Task:
    """Chains, every prompt of a training another; perhaps with a verifier that errs, or with graded rewards."""
    length, share = options["length"], options["reward_noise"]
    rows = chain.draw_prompts(length, options["validation_prompts"] + options["test_prompts"], seed="held out")
    without = {row["prompt"] for row in rows}

    def draw(seed: int, number: int) -> list[Row]:
        return chain.draw_prompts(length, number, f"train {seed}", without)

    reward = noisy(chain.last_digit_reward, share) if share else chain.last_digit_reward
    trained = chain.share_right_reward if options.get("graded") else reward
    return Task(*split(rows, options), trained, reward, completion_tokens(options), draw)


def language_task(options: dict[str, Any]) -> Task:
    """Questions, in the task's own words around them; a training goes over the same ones again."""
    source = dict(size=options["training_prompts"], test_size=options["held_out_prompts"])
    generated = options["dataset"].startswith("reasoning_gym:")
    source = source if generated else {}
    sets = load_prompts(options["dataset"], options["dataset_config"], prompt_format="plain", **source)
    train, held_out = (
        [dict(row, prompt=in_words(row["prompt"], options["template"])) for row in rows] for rows in sets
    )
    wanted = options["validation_prompts"] + options["test_prompts"]
    if len(held_out) < wanted:
        raise ValueError(f"held_out_prompts: {len(held_out)} are fewer than the {wanted} that scoring takes.")
    random.Random("held out").shuffle(held_out)
    reward = resolve_reward_func(options["reward"])
    return Task(
        *split(held_out, options),
        reward,
        reward,
        completion_tokens(options),
        lambda seed, number: train,
    )


def in_words(prompt: str, template: str) -> str:
    """A prompt whose first or last line the template repeats among its examples."""
    lines = prompt.splitlines()
    return template.format(first_line=lines[0], last_line=lines[-1])


def noisy(reward: Any, share: float) -> Any:
    """A verifier that errs on this share of completions, always on the same ones."""

    def noisy_reward(prompts: list[str], completions: list[str], answer: list[str], **kwargs: Any) -> list[float]:
        flips = (
            int(hashlib.sha256(f"{prompt}{text}".encode()).hexdigest()[:8], 16) < share * 2**32
            for prompt, text in zip(prompts, completions, strict=True)
        )
        return [1.0 - value if flip else value for value, flip in zip(reward(completions, answer), flips, strict=True)]

    return noisy_reward


def prepare_model(options: dict[str, Any]) -> None:
    """Warms up a chain's model if it is missing; `ValueError` if another is there, or no language model."""
    folder = Path(options["model"])
    found = (folder / "config.json").exists()
    if "dataset" in options:
        if not found:
            raise ValueError(f"model: {folder} is not there. Run: trl-real recipes model --output_dir {folder}")
        return
    warm_up = chain.WARM_UP | dict(steps=options["warm_up_steps"], anneal=options["anneal"])
    wanted = dict(length=options["length"], teacher=options["teacher"], warm_up=warm_up)
    if not found:
        print(f"Warming up {folder}, one or two minutes", flush=True)
        chain.write_base(folder, **wanted)
    about = json.loads((folder / "chain.json").read_text())
    if {name: about[name] for name in wanted} != wanted:
        raise ValueError(f"model: {folder} was warmed up with {about}; remove it or name another folder.")


def base_digest(folder: Path) -> str:
    """The weights of a base model in twelve characters."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]
