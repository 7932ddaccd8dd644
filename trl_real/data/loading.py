"""
Prompts for training and for the held-out set.

In: the name of a data set (a file, a folder, a hub id, or `reasoning_gym:<task>`) and which part of it to hold out.
Out: two data sets with a column `prompt` (a text or a list of messages) and what the reward functions read. The same
arguments give the same rows. Left out: shuffling and repeating, which the trainer does.
"""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from datasets import (
    Dataset,
    DatasetDict,
    IterableDataset,
    load_dataset,
    load_dataset_builder,
    load_from_disk,
)
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules.csv.csv import CsvConfig
from huggingface_hub import constants, get_session

from .checks import check_prompts, check_text_file, csv_options, reading_fault
from .columns import add_system_prompt, name_columns
from .gym import generate_questions


FILE_FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}
HUB_SECONDS = 3.0  # that the hub has to answer in
PROMPT_FORMATS = ("chat", "plain")

AnyDataset = Dataset | IterableDataset


class Fields(NamedTuple):
    """The options that errors about a data set name."""

    name: str = "dataset_name"
    split: str = "dataset_train_split"


TRAIN_FIELDS = Fields()
TEST_FIELDS = Fields(split="dataset_test_split")
EVAL_FIELDS = Fields("eval_dataset_name", "eval_dataset_split")
CALL_FIELDS = Fields(split="split")  # of a call from Python


def load_prompts(
    name: str,
    config: str | dict[str, Any] | None = None,
    train_split: str = "train",
    test_split: str | None = "test",
    test_size: float | None = None,
    split_seed: int = 0,
    size: int | None = None,
    prompt_format: str | None = None,
    streaming: bool = False,
    fields: Fields = TRAIN_FIELDS,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    system_prompt: str | None = None,
) -> tuple[AnyDataset, AnyDataset | None]:
    """
    Loads the training prompts and, if wanted, the held-out ones.

    Args:
        name (`str`):
            A local file (`.parquet`, `.json`, `.jsonl`, `.csv`), a local folder (of such files, or written by
            `save_to_disk`), a hub id, or `reasoning_gym:<task>`.
        config (`str` or `dict`, *optional*):
            Configuration of a hub data set. For Reasoning Gym: the task's options, as a dictionary or as JSON.
        train_split (`str`, *optional*, defaults to `"train"`):
            Split to train on.
        test_split (`str`, *optional*, defaults to `"test"`):
            Split to evaluate on; `None` if nothing is to be evaluated.
        test_size (`float`, *optional*):
            Instead of `test_split`: hold out so many different prompts (a number from 1 on) or such a share of them
            (below 1). No held-out prompt is left in the training set.
        split_seed (`int`, *optional*, defaults to `0`):
            Decides which prompts are held out and which questions Reasoning Gym generates.
        size (`int`, *optional*):
            Number of training rows. Default: all, 1000 for Reasoning Gym, no end for Reasoning Gym with `streaming`.
        prompt_format (`str`, *optional*):
            `"chat"` makes each prompt a list of one user message, `"plain"` a text. Default: as the data set has it,
            and `"chat"` for Reasoning Gym.
        streaming (`bool`, *optional*, defaults to `False`):
            Read the data set lazily; Reasoning Gym then generates questions without end.
        fields (`Fields`, *optional*):
            The options that errors name. Default: those of a training set.
        prompt_column, answer_column (`str`, *optional*):
            Its columns of prompts and of accepted answers, which become `prompt` and `answer`.
        system_prompt (`str`, *optional*):
            A system message before each prompt, which must be messages.

    Returns:
        `tuple`: the training set, and the held-out set or `None`.
    """
    _check_options(prompt_format, test_size, size)
    if name.startswith("reasoning_gym:"):
        options = json.loads(config) if isinstance(config, str) else config or {}
        task = name.removeprefix("reasoning_gym:")
        generated, test = generate_questions(
            task, options, split_seed, size or 1000, test_size, streaming, field=fields.name
        )
        splits = {"train": generated}
        prompt_format = prompt_format or "chat"
    else:
        splits, test = load_splits(name, config, streaming, fields.name), None
    columns = (name, prompt_column, answer_column)
    train = name_columns(pick_split(splits, train_split, fields.split), *columns)
    check_prompts(train, name, fields.name)  # before rows are held out: they are named by their numbers in the source
    if test_size is not None and test is None:
        train, test = hold_out(train, test_size, split_seed)
    form = (name, prompt_format, system_prompt, fields.name)
    train = _finish(train if size is None else train.take(size), *form)
    if test_split is None:
        return train, None
    test = test or name_columns(pick_split(splits, test_split, TEST_FIELDS.split), *columns)
    return train, _finish(test, *form)


def _check_options(prompt_format: str | None, test_size: float | None, size: int | None) -> None:
    if prompt_format not in (None, *PROMPT_FORMATS):
        raise ValueError(f"prompt_format: {prompt_format!r} is not one of {', '.join(PROMPT_FORMATS)}.")
    if test_size is not None and (test_size <= 0 or (test_size > 1 and test_size != int(test_size))):
        raise ValueError(f"test_size: {test_size} is neither a number of prompts (1, 2, ...) nor a share below 1.")
    if size is not None and size < 1:
        raise ValueError(f"dataset_size: {size} is not a number of rows (1, 2, ...).")


def hold_out(dataset: AnyDataset, test_size: float, split_seed: int) -> tuple[Dataset, Dataset]:
    """Splits by prompt: rows with the same prompt go to the same side. Arguments as in [`load_prompts`]."""
    if isinstance(dataset, IterableDataset):
        raise ValueError("test_size: a streamed data set cannot be split; use dataset_test_split, or do not stream.")
    check_prompts(dataset, "the data set")
    keys = [json.dumps(prompt) for prompt in dataset["prompt"]]
    different = list(dict.fromkeys(keys))
    number = int(test_size) if test_size >= 1 else round(test_size * len(different))
    if not 0 < number < len(different):
        raise ValueError(
            f"test_size: {test_size:g} of {len(different)} different prompts leaves one side empty; write a number of "
            "prompts below that, or a share below 1."
        )
    held_out = set(random.Random(split_seed).sample(different, number))
    rows: dict[bool, list[int]] = {True: [], False: []}
    for row, key in enumerate(keys):
        rows[key in held_out].append(row)
    return dataset.select(rows[False]), dataset.select(rows[True])


def load_splits(name: str, config: str | None, streaming: bool, field: str = "dataset_name") -> dict[str, AnyDataset]:
    """
    The splits of a file, a folder or a hub data set, by name.

    Args:
        name (`str`), config (`str`), streaming (`bool`):
            As in [`load_prompts`].
        field (`str`, *optional*, defaults to `"dataset_name"`):
            The option that errors name.

    Returns:
        `dict`: the splits.
    """
    path = Path(name).expanduser()
    if path.is_dir() and ((path / "dataset_dict.json").exists() or (path / "state.json").exists()):
        loaded = load_from_disk(path)
        splits = loaded if isinstance(loaded, DatasetDict) else {"train": loaded}
        return {split: rows.to_iterable_dataset() for split, rows in splits.items()} if streaming else splits
    if config is not None and path.exists():
        raise ValueError(f"dataset_config: {name} is local and has no configurations; write none or leave it out.")
    if path.is_file() and path.suffix not in FILE_FORMATS:
        raise ValueError(f"{field}: {name} is not one of {', '.join(FILE_FORMATS)}.")
    if not path.exists() and (path.suffix in FILE_FORMATS or name.startswith((".", "/", "~"))):
        raise ValueError(f"{field}: there is no file or folder {name} (looked from {Path.cwd()}).")
    if path.is_file() and not path.stat().st_size:
        raise ValueError(f"{field}: {name} is an empty file.")
    for file in [path] if path.is_file() else sorted(path.glob("*")):
        if FILE_FORMATS.get(file.suffix, "parquet") != "parquet":
            check_text_file(file, field)
    try:
        if path.is_file():
            return _load_local(FILE_FORMATS[path.suffix], streaming, data_files=str(path))
        if path.is_dir():
            return _load_local(str(path), streaming)
        with hub_or_cache():  # a CSV file there is read as `datasets` does: its cache has no place for options
            return load_dataset(name, config, streaming=streaming)
    except (FileNotFoundError, ConnectionError) as error:
        raise ValueError(
            f"{field}: {name} is no local file or folder (looked from {Path.cwd()}), and {why_not(error)}. Write a "
            "path, a hub id, or reasoning_gym:<task>."
        ) from error
    except (ValueError, DatasetGenerationError) as error:
        raise ValueError(f"{field}: cannot read {name}: {reading_fault(error)}.") from error


def _load_local(source: str, streaming: bool, **files: str) -> dict[str, AnyDataset]:
    config, options = load_dataset_builder(source, **files).config, {}
    if isinstance(config, CsvConfig):
        options = csv_options([Path(file) for split in config.data_files.values() for file in split])
    return load_dataset(source, streaming=streaming, **files, **options)


def pick_split(splits: dict[str, AnyDataset], split: str, field: str) -> AnyDataset:
    """One split; `field` is the option that the error names."""
    if split not in splits:
        hint = " Or hold out part of the training split with test_size." if field == TEST_FIELDS.split else ""
        raise ValueError(f"{field}: there is no split {split!r}, only {', '.join(splits)}.{hint}")
    return splits[split]


def _finish(
    dataset: AnyDataset, name: str, prompt_format: str | None, system_prompt: str | None, field: str
) -> AnyDataset:
    prompt = check_prompts(dataset, name, field)
    if prompt_format == "chat" and isinstance(prompt, str):
        dataset = dataset.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})
    if prompt_format == "plain" and isinstance(prompt, list):
        dataset = dataset.map(lambda row: {"prompt": "\n\n".join(message["content"] for message in row["prompt"])})
    if system_prompt is not None:
        add_system_prompt(next(iter(dataset)), system_prompt)  # so that an error is this one, and not that of a map
        dataset = dataset.map(add_system_prompt, fn_kwargs={"text": system_prompt})
    return dataset


@cache
def hub_answers() -> bool:
    """Whether the hub answers one request, whatever it says; without a request not, where `HF_HUB_OFFLINE` is set."""
    if constants.is_offline_mode():
        return False
    answers = []

    def ask() -> None:
        with suppress(Exception):  # of whatever library the hub's client is built on
            answers.append(get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS))

    asking = threading.Thread(target=ask, daemon=True)  # no timeout holds for the look-up of its name
    asking.start()
    asking.join(HUB_SECONDS)
    return bool(answers)


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Inside, nothing waits for a hub that does not answer, for a minute: what the cache does not hold is missing."""
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if not hub_answers():
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def why_not(error: BaseException) -> str:
    """Why the hub has not given something, in the words of an error message."""
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set, and the cache does not hold it"
    if not hub_answers():
        return f"the hub ({constants.ENDPOINT}) does not answer, and the cache does not hold it"
    return f"the hub does not give it ({str(error).splitlines()[0]})"
