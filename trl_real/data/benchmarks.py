"""
The paper's six benchmarks, and others in one of their layouts, by name.

In: a name: one of `BENCHMARKS`, a local file or folder, or a hub id. Out: its title and all of its rows, none of them
removed, in the paper's prompt format. Left out: reading the layouts (`trl_real.data.layouts`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..spelling import nearest
from .layouts import read_math
from .loading import FILE_FORMATS, Fields


@dataclass(frozen=True)
class Benchmark:
    """Where one of the paper's benchmarks is, and what the table calls it."""

    title: str
    hub: str
    split: str
    file: str
    rows: int


BENCHMARKS = {
    "aime24": Benchmark("AIME24", "HuggingFaceH4/aime_2024", "train", "aime.parquet", 30),
    "aime25": Benchmark("AIME25", "MathArena/aime_2025", "train", "aime25.parquet", 30),
    "math500": Benchmark("MATH500", "HuggingFaceH4/MATH-500", "test", "math.parquet", 500),
    "amc23": Benchmark("AMC23", "AI-MO/aimo-validation-amc", "train", "amc.parquet", 83),
    "minerva": Benchmark("Minerva", "math-ai/minervamath", "test", "minerva.parquet", 272),
    "olympiad": Benchmark("O-Bench", "math-ai/olympiadbench", "test", "olympiad_bench.parquet", 675),
}


def read_benchmark(
    name: str, folder: Path | None = None, field: str = "benchmarks"
) -> tuple[str, list[dict[str, Any]]]:
    """
    Reads a benchmark whole.

    Args:
        name (`str`):
            A key of `BENCHMARKS`, a local file or folder, or a hub id with `:split` if the split is not `test`.
        folder (`Path`, *optional*):
            Where the files of `BENCHMARKS` lie. Default: they come from the hub.
        field (`str`, *optional*, defaults to `"benchmarks"`):
            The option that errors name.

    Returns:
        `tuple`: its title, and its rows with the columns of `trl_real.data.layouts.FEATURES`.
    """
    known = BENCHMARKS.get(name)
    if known is not None and folder is not None:
        source, split, title = str(folder / known.file), "train", known.title
    elif known is not None:
        source, split, title = known.hub, known.split, known.title
    elif Path(name).exists():
        source, split, title = name, "train", Path(name).stem
    else:
        source, _, split = name.partition(":")
        if "/" not in source or source.startswith((".", "/", "~")) or Path(source).suffix in FILE_FORMATS:
            raise ValueError(f"{field}: {_unknown(name)}")
        split, title = split or "test", source.rpartition("/")[2]
    rows = _read_rows(source, split, f"{field}: {name}")
    if known is not None and len(rows) != known.rows:
        raise ValueError(f"{field}: {name} has {len(rows)} rows in {source}, not the {known.rows} of the paper.")
    return title, rows


def _read_rows(source: str, split: str, prefix: str) -> list[dict[str, Any]]:
    rows = read_math(source, split, fields=Fields(prefix, prefix))
    for row in rows:
        if not row["problem"] or not row["answer"]:
            raise ValueError(f"{prefix}: row {row['row']} of {source} has no problem or no answer.")
    return list(rows)


def _unknown(name: str) -> str:
    return (
        f"{name} is none of {', '.join(BENCHMARKS)}, and there is no file or folder of that name (looked from "
        f"{Path.cwd()}).{nearest(name, BENCHMARKS)}"
    )
