"""
Files that are written whole or not at all, whatever happens in between.

In: texts and rows. Out: files, on the disk when the function returns. A disk that is full, or a quota that is used up,
is a [`NoSpace`] that names the file, and leaves what was there before. Left out: what the files mean.
"""

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO


class NoSpace(ValueError):
    """A file could not be written; what was there before is still there."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"Could not write {path}: {error.strerror}. All that was written before is kept and nothing is half "
            "written. Make room, then start the same command again; it goes on from there."
        )


def write_whole(path: Path, text: str) -> None:
    """Writes beside the target and renames at the end."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise NoSpace(path, error) from error


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """One JSON line for each row."""
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_lines(path: Path) -> list[Any]:
    """The rows that [`write_lines`] wrote."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def append_line(file: BinaryIO, path: Path, row: Any) -> None:
    """
    Appends one JSON line to an unbuffered file; if it does not fit, the file is as before.

    Args:
        file (`BinaryIO`):
            Opened to append, without a buffer.
        path (`Path`):
            What the error calls it.
        row (`Any`):
            The content of the line.
    """
    before = os.fstat(file.fileno()).st_size
    line = memoryview(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    try:
        while line:
            line = line[file.write(line) :]
        os.fsync(file.fileno())
    except OSError as error:
        os.ftruncate(file.fileno(), before)
        raise NoSpace(path, error) from error
