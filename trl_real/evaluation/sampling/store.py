"""
Samples on disk: written as they come, whole or not at all, and never sampled twice.

In: problems with their prompts, the settings that shape a sample, and chunks of finished samples. Out: the samples
that are still missing, cut into chunks, and at the end all of them. A folder is for one model and one set:

    settings.json          what was asked for; other settings cannot be mixed in
    problems.jsonl         prompts as texts and as tokens, and the columns that the judge reads
    samples-<rank>.jsonl   one line for each finished chunk: a list of samples
    verdicts.jsonl         one line for each sample (`trl_real.evaluation.verdicts`)

The chunks and their seeds depend on what is missing and not on the number of processes. A line that a kill or a full
disk cut off is dropped, and its chunk sampled again. Left out: sampling (`trl_real.evaluation.sampling.samplers`).
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .writing import append_line, read_lines, write_lines, write_whole


Key = tuple[int, int]  # number of the problem, number of the sample


@dataclass(frozen=True)
class Chunk:
    """Samples that are made together, with the seed that they share."""

    keys: tuple[Key, ...]
    seed: int


class SampleStore:
    """
    The folder of one model and one set of problems.

    Args:
        folder (`Path`):
            The folder; it must have been written by [`prepare_stores`].
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = json.loads((folder / "settings.json").read_text("utf-8"))
        self.problems = read_lines(folder / "problems.jsonl")

    @property
    def model(self) -> str:
        return self.settings["sampling"]["model"]

    @property
    def set(self) -> str:
        return self.settings["set"]

    @property
    def wanted(self) -> list[Key]:
        """All samples that were asked for, the longest prompts first."""
        longest_first = sorted(self.problems, key=lambda row: (-len(row["prompt_ids"]), row["problem"]))
        return [(row["problem"], sample) for row in longest_first for sample in range(self.settings["samples"])]

    def stored(self) -> Iterator[dict[str, Any]]:
        """All samples on disk, in the order in which they were written."""
        for path in sorted(self.folder.glob("samples-*.jsonl")):
            for chunk in _read_chunks(path):
                yield from chunk

    def samples(self) -> list[dict[str, Any]]:
        """The samples that were asked for and are there, by problem and number."""
        found = {(sample["problem"], sample["sample"]): sample for sample in self.stored()}
        return [found[key] for key in sorted(self.wanted) if key in found]

    def lacking(self) -> list[Key]:
        """What is still to be sampled."""
        there = {(sample["problem"], sample["sample"]) for sample in self.stored()}
        return [key for key in self.wanted if key not in there]

    def missing(self, chunk_size: int) -> list[Chunk]:
        """The same in chunks. Whole chunks that are there leave the cut of the others as it was."""
        keys = self.lacking()
        cuts = [tuple(keys[start : start + chunk_size]) for start in range(0, len(keys), chunk_size)]
        return [Chunk(cut, self._seed(cut)) for cut in cuts]

    def _seed(self, keys: tuple[Key, ...]) -> int:
        source = [self.settings["sampling"]["seed"], self.settings["set"], keys]
        return int.from_bytes(hashlib.blake2b(json.dumps(source).encode(), digest_size=4).digest(), "big")


class SampleWriter:
    """
    Appends chunks to the file of one process.

    Args:
        store (`SampleStore`):
            Where the samples belong.
        rank (`int`):
            Number of this process.
    """

    def __init__(self, store: SampleStore, rank: int) -> None:
        self.path = store.folder / f"samples-{rank}.jsonl"
        self._file = open(self.path, "ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"output: another process is writing {self.path}; wait for it, or choose another --output."
            ) from error
        os.ftruncate(self._file.fileno(), _whole_lines(self.path))

    def write(self, samples: list[dict[str, Any]]) -> None:
        """Returns when the chunk is on the disk; otherwise nothing of it is."""
        append_line(self._file, self.path, samples)

    def close(self) -> None:
        self._file.close()


def prepare_stores(wanted: Sequence[tuple[Path, dict[str, Any], list[dict[str, Any]]]]) -> list[SampleStore]:
    """
    Creates folders, or checks that what is in them can be gone on with; writes nothing if any of them cannot.

    Args:
        wanted (`list[tuple]`):
            For each store its folder, its settings and its problems. The settings are `set`, `title`, `samples`,
            `judge`, and in `sampling` what must be the same for all samples. A problem has `problem` (its number in
            the set), `prompt`, `prompt_ids` and `columns`.

    Returns:
        `list[SampleStore]`: the stores.
    """
    folders = [folder for folder, _, _ in wanted]
    for folder, settings, problems in wanted:
        if folders.count(folder) > 1:
            raise ValueError(f"output: two models or two sets would share the folder {folder}; rename one of them.")
        if (folder / "settings.json").exists():
            _check_same(SampleStore(folder), settings, problems)
    for folder, settings, problems in wanted:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"output: cannot make the folder {folder}: {error.strerror}.") from error
        write_lines(folder / "problems.jsonl", problems)
        write_whole(folder / "settings.json", json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    return [SampleStore(folder) for folder, _, _ in wanted]


def find_stores(output: Path) -> list[SampleStore]:
    """All stores below a folder."""
    return [SampleStore(path.parent) for path in sorted(output.glob("*/*/settings.json"))]


def _check_same(store: SampleStore, settings: dict[str, Any], problems: list[dict[str, Any]]) -> None:
    advice = "Go back to that, or choose another --output."
    old, new = store.settings["sampling"], settings["sampling"]
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            raise ValueError(
                f"{name}: the samples in {store.folder} were made with {old.get(name)!r}, now it is "
                f"{new.get(name)!r}. {advice}"
            )
    former = {row["problem"]: row["prompt_ids"] for row in store.problems}
    for row in problems:
        if former.get(row["problem"], row["prompt_ids"]) != row["prompt_ids"]:
            raise ValueError(
                f"problem {row['problem']}: its samples in {store.folder} were made with another prompt. The problems "
                "or the chat template have changed; choose another --output."
            )


def _whole_lines(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    return path.read_bytes().rfind(b"\n") + 1


def _read_chunks(path: Path) -> Iterator[list[dict[str, Any]]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(
                    f"output: line {number} of {path} holds no samples ({error}). Delete the line; its samples are "
                    "then made anew."
                ) from error
