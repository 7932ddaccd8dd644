"""
Questions that Reasoning Gym generates, as rows that TRL trains on.

In: the name of a task, its options and a seed. Out: training and held-out questions with the columns `prompt` (text),
`answer` and `metadata` (JSON), which [`~trl_real.rewards.reasoning_gym_reward`] reads. Nothing is downloaded.
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
CHUNK = 200  # some tasks build their questions from the size they are asked for, so the size is always the same
STALE_DRAWS = 1000  # after so many draws without a new question, the task has no more


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
    Generates different questions; those held out never occur in training.

    Args:
        task (`str`):
            Name of a Reasoning Gym task, such as `"chain_sum"`.
        options (`dict`):
            The task's own options, such as `{"max_terms": 3}`.
        seed (`int`):
            The same seed gives the same questions.
        size (`int`):
            Number of training questions.
        test_size (`float`, *optional*):
            Number of held-out questions, or their share of `size`.
        streaming (`bool`):
            Train on an endless stream instead of `size` questions; there, a question may come again.
        field (`str`, *optional*, defaults to `"dataset_name"`):
            The option that errors name.

    Returns:
        `tuple`: the training questions, and the held-out ones or `None`.
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
    """The task's endless series of rows for this seed, without the prompts in `held_out`."""
    import reasoning_gym

    # Reasoning Gym seeds row i with seed + i: chunk after chunk continues one series, and near seeds would share it.
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
    """Says what is wrong with the task's name or options, before anything else is done."""
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise ValueError(f"{field}: for Reasoning Gym, first run: pip install reasoning-gym") from error
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
