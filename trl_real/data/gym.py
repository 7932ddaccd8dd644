"""
Questions that Reasoning Gym generates, without a download.

The columns are `prompt` (text), `answer` and `metadata` (JSON); [`~trl_real.rewards.reasoning_gym_reward`] reads them.
"""

import difflib
import json
import math
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

from datasets import Dataset, IterableDataset


ANSWER_INSTRUCTION = "\nGive the final answer between <answer> and </answer>."
CHUNK = 200  # always the same: some tasks derive their questions from the requested size
STALE_DRAWS = 1000  # this many draws without a new question: the task has no more


def generate_questions(
    task: str,
    options: dict[str, Any],
    seed: int,
    size: int,
    test_size: float | None,
    streaming: bool,
    field: str = "dataset_name",
) -> tuple[Dataset | IterableDataset, Dataset | None]:
    """
    Generates `size` different questions for training, and held-out ones that never occur in training.

    The same `seed` gives the same questions. `test_size` is the number of held-out ones, or their share of `size`. If
    `streaming`, the training set is an endless stream that may repeat questions. Errors name the option `field`.
    """
    _check_task(task, options, field)
    draws = questions(task, options, seed)
    number = 0 if test_size is None else int(test_size) if test_size >= 1 else math.ceil(test_size * size)
    test = _take_different(draws, number, set(), task)
    held_out = {row["prompt"] for row in test}
    if streaming:
        source = {"task": task, "options": options, "seed": seed, "held_out": held_out}
        train = IterableDataset.from_generator(questions, gen_kwargs=source)
    else:
        train = Dataset.from_list(_take_different(draws, size, held_out, task))
    return train, Dataset.from_list(test) if test else None


def questions(
    task: str, options: dict[str, Any], seed: int, held_out: frozenset[str] | set[str] = frozenset()
) -> Iterator[dict[str, Any]]:
    """An endless series of rows, without the prompts in `held_out`."""
    import reasoning_gym

    # Reasoning Gym seeds row i with seed + i: the chunks form one series, which adjacent seeds would share
    for start in count(random.Random(seed).randrange(2**31), CHUNK):
        for entry in reasoning_gym.create_dataset(task, seed=start, size=CHUNK, **options):
            prompt = entry["question"] + ANSWER_INSTRUCTION
            if prompt not in held_out:
                metadata = json.dumps(entry["metadata"], default=str)
                yield {"prompt": prompt, "answer": entry["answer"], "metadata": metadata}


def _take_different(draws: Iterator[dict], number: int, seen: set[str], task: str) -> list[dict[str, Any]]:
    seen, rows, stale = set(seen), [], 0
    while len(rows) < number:
        row = next(draws)
        stale = stale + 1 if row["prompt"] in seen else 0
        if stale == 0:
            seen.add(row["prompt"])
            rows.append(row)
        elif stale == STALE_DRAWS:
            raise ValueError(
                f"dataset_size: reasoning_gym:{task} with these options has only about {len(seen)} different "
                "questions; lower dataset_size or test_size, or change the task's options with dataset_config."
            )
    return rows


def _check_task(task: str, options: dict[str, Any], field: str) -> None:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise ValueError(f"{field}: Reasoning Gym is not installed; run `pip install reasoning-gym`.") from error
    if task not in DATASETS:
        close = ", ".join(difflib.get_close_matches(task, DATASETS, n=3)) or ", ".join(sorted(DATASETS))
        raise ValueError(f"{field}: Reasoning Gym has no task {task!r}. Nearest: {close}.")
    try:
        source = reasoning_gym.create_dataset(task, seed=0, size=CHUNK, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"dataset_config: reasoning_gym:{task} refuses the options {options}: {error}") from error
    entry = source[0]
    stored = json.loads(json.dumps(entry, default=str))
    if source.score_answer(entry["answer"], stored) != source.score_answer(entry["answer"], entry):
        raise ValueError(f"{field}: the answers of reasoning_gym:{task} cannot be scored from stored columns.")
