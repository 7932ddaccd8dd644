"""
Prompts for training and for the held-out set, from a file, a folder, the hub, or `reasoning_gym:<task>`.

The same arguments give the same rows. The trainer shuffles and repeats them.
"""

import json
import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, DatasetDict, IterableDataset, load_dataset, load_dataset_builder, load_from_disk
from datasets import config as datasets_config
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules.csv.csv import CsvConfig
from huggingface_hub import constants, get_session

from ..spelling import nearest
from .checks import check_encoding, check_prompts, csv_options, read_error
from .gym import generate_questions


FILE_FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}
HUB_SECONDS = 3.0  # within which the hub must answer
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
    Loads the training prompts and, unless there are none, the held-out ones.

    Args:
        name (`str`):
            A local file (`.parquet`, `.json`, `.jsonl`, `.csv`), a local folder (of such files, or written by
            `save_to_disk`), a hub id, or `reasoning_gym:<task>`.
        config (`str` or `dict`, *optional*):
            Configuration of a hub data set. For Reasoning Gym: the task's options, as a dictionary or as JSON.
        train_split (`str`, *optional*, defaults to `"train"`):
            Split to train on.
        test_split (`str`, *optional*, defaults to `"test"`):
            Split to evaluate on; `None` for no evaluation.
        test_size (`float`, *optional*):
            Instead of `test_split`: the number of different prompts to hold out (1, 2, ...), or their share (below
            1). No held-out prompt stays in the training set.
        split_seed (`int`, *optional*, defaults to `0`):
            Decides which prompts are held out and which questions Reasoning Gym generates.
        size (`int`, *optional*):
            Number of training rows. Default: all; 1000 for Reasoning Gym, or endless with `streaming`.
        prompt_format (`str`, *optional*):
            `"chat"` makes each prompt a list of one user message, `"plain"` a text. Default: unchanged, and `"chat"`
            for Reasoning Gym.
        streaming (`bool`, *optional*, defaults to `False`):
            Read the data set lazily; Reasoning Gym then generates questions endlessly.
        fields (`Fields`, *optional*):
            The options that errors name. Default: those of a training set.
        prompt_column, answer_column (`str`, *optional*):
            Its columns of prompts and of accepted answers, renamed to `prompt` and `answer`.
        system_prompt (`str`, *optional*):
            A system message before each prompt; prompts must be messages.

    Returns:
        `tuple`: the training set, and the held-out set or `None`.
    """
    _check_options(prompt_format, test_size, size)
    test = None
    splits: Mapping[Any, AnyDataset]
    if name.startswith("reasoning_gym:"):
        options = json.loads(config) if isinstance(config, str) else config or {}
        task = name.removeprefix("reasoning_gym:")
        generated, test = generate_questions(
            task, options, split_seed, size or 1000, test_size, streaming, field=fields.name
        )
        splits = {"train": generated}
        prompt_format = prompt_format or "chat"
    elif isinstance(config, dict):
        raise ValueError(f"dataset_config: {config} is for Reasoning Gym; write the name of {name}'s configuration.")
    else:
        splits = load_splits(name, config, streaming, fields.name)
    columns = (name, prompt_column, answer_column)
    train = _rename_columns(pick_split(splits, train_split, fields.split), *columns)
    check_prompts(train, name, fields.name)  # before rows are held out, since errors give the row number in the source
    if test_size is not None and test is None:
        train, test = hold_out(train, test_size, split_seed)
    form = (name, prompt_format, system_prompt, fields.name)
    train = _format_prompts(train if size is None else train.take(size), *form)
    if test_split is None:
        return train, None
    test = test or _rename_columns(pick_split(splits, test_split, TEST_FIELDS.split), *columns)
    return train, _format_prompts(test, *form)


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
    keys = [json.dumps(prompt) for prompt in dataset["prompt"]]
    different = list(dict.fromkeys(keys))
    number = int(test_size) if test_size >= 1 else round(test_size * len(different))
    if not 0 < number < len(different):
        raise ValueError(
            f"test_size: {test_size:g} of {len(different)} different prompts leaves one side empty; write a smaller "
            "number of prompts, or a share below 1."
        )
    held_out = set(random.Random(split_seed).sample(different, number))
    rows: dict[bool, list[int]] = {True: [], False: []}
    for row, key in enumerate(keys):
        rows[key in held_out].append(row)
    return dataset.select(rows[False]), dataset.select(rows[True])


def load_splits(
    name: str, config: str | None, streaming: bool, field: str = "dataset_name"
) -> Mapping[Any, AnyDataset]:
    """The splits of a file, a folder or a hub data set, by name; `field` is the option that errors name."""
    path = Path(name).expanduser()
    if path.is_dir() and ((path / "dataset_dict.json").exists() or (path / "state.json").exists()):
        loaded = load_from_disk(path)
        splits = loaded if isinstance(loaded, DatasetDict) else DatasetDict({"train": loaded})
        return {split: rows.to_iterable_dataset() for split, rows in splits.items()} if streaming else splits
    if config is not None and path.exists():
        raise ValueError(f"dataset_config: {name} is local and has no configurations; omit it, or write none.")
    if path.is_file() and path.suffix not in FILE_FORMATS:
        raise ValueError(f"{field}: {name} is not one of {', '.join(FILE_FORMATS)}.")
    if not path.exists() and (path.suffix in FILE_FORMATS or name.startswith((".", "/", "~"))):
        raise ValueError(f"{field}: there is no file or folder {name} (looked from {Path.cwd()}).")
    if path.is_file() and not path.stat().st_size:
        raise ValueError(f"{field}: {name} is an empty file.")
    for file in [path] if path.is_file() else sorted(path.glob("*")):
        if FILE_FORMATS.get(file.suffix, "parquet") != "parquet":
            check_encoding(file, field)
    try:
        if path.is_file():
            return _load_local(FILE_FORMATS[path.suffix], streaming, str(path))
        if path.is_dir():
            return _load_local(str(path), streaming)
        with hub_or_cache():  # a hub's CSV file is read as `datasets` does: its cache has no place for options
            return load_dataset(name, config, streaming=streaming)
    except (FileNotFoundError, ConnectionError) as error:
        raise ValueError(
            f"{field}: {name} is not a local file or folder (looked from {Path.cwd()}), and {why_not(error)}. Write a "
            "path, a hub id, or reasoning_gym:<task>."
        ) from error
    except (ValueError, DatasetGenerationError) as error:
        raise ValueError(f"{field}: cannot read {name}: {read_error(error)}.") from error


def _load_local(source: str, streaming: bool, file: str | None = None) -> Mapping[Any, AnyDataset]:
    config, options = load_dataset_builder(source, data_files=file).config, {}
    if isinstance(config, CsvConfig):
        files: Iterable[Iterable[str]] = (config.data_files or {}).values()
        options = csv_options([Path(path) for split in files for path in split])
    return load_dataset(source, streaming=streaming, data_files=file, **options)


def pick_split(splits: Mapping[Any, AnyDataset], split: str, field: str) -> AnyDataset:
    """One split; `field` is the option that the error names."""
    if split not in splits:
        hint = " Or hold out part of the training split with test_size." if field == TEST_FIELDS.split else ""
        raise ValueError(f"{field}: there is no split {split!r}, only {', '.join(splits)}.{hint}")
    return splits[split]


def _rename_columns(
    dataset: AnyDataset, name: str, prompt_column: str | None, answer_column: str | None
) -> AnyDataset:
    """Renames two columns to `prompt` and `answer`, in place of any that exist."""
    for wanted, column in (("prompt", prompt_column), ("answer", answer_column)):
        row = next(iter(dataset), None)
        if column is None or column == wanted or row is None:
            continue
        if column not in row:
            raise ValueError(
                f"{wanted}_column: {name} has no column `{column}`, only {', '.join(row)}.{nearest(column, row)}"
            )
        rest = dataset.remove_columns(wanted) if wanted in row else dataset
        dataset = rest.rename_column(column, wanted)
    return dataset


def _format_prompts(
    dataset: AnyDataset, name: str, prompt_format: str | None, system_prompt: str | None, field: str
) -> AnyDataset:
    prompt = check_prompts(dataset, name, field)
    if prompt_format == "chat" and isinstance(prompt, str):
        dataset = dataset.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})
    if prompt_format == "plain" and isinstance(prompt, list):
        dataset = dataset.map(lambda row: {"prompt": "\n\n".join(message["content"] for message in row["prompt"])})
    if system_prompt is not None:
        _add_system_prompt(next(iter(dataset)), system_prompt)  # raises its error outside of `map`
        dataset = dataset.map(_add_system_prompt, fn_kwargs={"text": system_prompt})
    return dataset


def _add_system_prompt(row: dict[str, Any], text: str) -> dict[str, Any]:
    if isinstance(row["prompt"], str):
        raise ValueError(
            "system_prompt: the prompts are texts, which have no system message; set prompt_format: chat."
        )
    if row["prompt"][0]["role"] == "system":
        raise ValueError(
            f"system_prompt: a prompt already has one ({row['prompt'][0]['content'][:100]!r}); omit system_prompt."
        )
    return {"prompt": [{"role": "system", "content": text}, *row["prompt"]]}


@cache
def hub_answers() -> bool:
    """Whether the hub answers one request, in any way; `False` without a request if `HF_HUB_OFFLINE` is set."""
    if constants.is_offline_mode():
        return False
    answers = []

    def ask() -> None:
        with suppress(Exception):  # of the library that the hub's client is built on
            answers.append(get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS))

    asking = threading.Thread(target=ask, daemon=True)  # no timeout covers the name lookup
    asking.start()
    asking.join(HUB_SECONDS)
    return bool(answers)


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Reads the cache alone if the hub does not answer; its client would wait for a minute."""
    before = constants.HF_HUB_OFFLINE, datasets_config.HF_HUB_OFFLINE
    if not hub_answers():
        constants.HF_HUB_OFFLINE = datasets_config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets_config.HF_HUB_OFFLINE = before


def why_not(error: BaseException) -> str:
    """Why something was not read from the hub, as part of an error message."""
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set, and the cache does not contain it"
    if not hub_answers():
        return f"the hub ({constants.ENDPOINT}) does not answer, and the cache does not contain it"
    return f"the hub does not provide it ({str(error).splitlines()[0]})"
