"""The paper's six benchmarks, and other data sets in one of their layouts, by name. No row is removed."""

from pathlib import Path
from typing import NamedTuple

from ..spelling import nearest
from .layouts import MathRow, read_math
from .loading import FILE_FORMATS, Fields


class Benchmark(NamedTuple):
    """A benchmark of the paper: its name in tables, where it is, and its size."""

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


def read_benchmark(name: str, folder: Path | None = None, field: str = "benchmarks") -> tuple[str, list[MathRow]]:
    """
    The title and all rows of a benchmark: a key of `BENCHMARKS`, a local file or folder, or a hub id, followed by
    `:split` if the split is not `test`.

    `folder` has the files of `BENCHMARKS`; without it they come from the hub. `field` is the option that errors name.
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
            raise ValueError(
                f"{field}: {name} is none of {', '.join(BENCHMARKS)}, and there is no file or folder of that name "
                f"(looked from {Path.cwd()}).{nearest(name, BENCHMARKS)}"
            )
        split, title = split or "test", source.rpartition("/")[2]
    prefix = f"{field}: {name}"
    rows: list[MathRow] = read_math(source, split, fields=Fields(prefix, prefix)).to_list()
    for row in rows:
        if not row["problem"] or not row["answer"]:
            raise ValueError(f"{prefix}: row {row['row']} of {source} has no problem or no answer.")
    if known is not None and len(rows) != known.rows:
        raise ValueError(f"{prefix} has {len(rows)} rows in {source}; the paper's has {known.rows}.")
    return title, rows
