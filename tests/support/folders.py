"""Folders that the processes of pytest share."""

from pathlib import Path


def of_all_processes(base: Path) -> Path:
    """
    The folder of one run of all tests.

    Args:
        base (`Path`):
            `tmp_path_factory.getbasetemp()` of this process, which lies in it where there are several.
    """
    return base.parent if base.name.startswith("popen-") else base
