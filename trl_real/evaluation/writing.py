"""
Files that are written whole or not at all, whatever happens in between.

In: texts. Out: files, on the disk when the function returns. A disk that is full, or a quota that is used up,
is a [`NoSpace`] that names the file, and leaves what was there before. Left out: what the files mean.
"""

import os
import tempfile
from pathlib import Path


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
