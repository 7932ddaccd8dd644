"""The table that a benchmark prints, and its record, which the pages take their numbers from (`make docs`)."""

import json
from pathlib import Path
from typing import Any


class Table:
    """
    A Markdown table, printed row by row.

    Args:
        columns (`list[str]`):
            Their names.
        output (`str` or `Path`, *optional*):
            File for the record: a JSON list with an entry for each row.
    """

    def __init__(self, columns: list[str], output: str | Path | None = None):
        self.columns, self.output = columns, output
        self.entries: list[dict[str, Any]] = []
        self._print(columns)
        self._print(["---"] * len(columns))

    def add(self, cells: list[str], **numbers: Any) -> None:
        """Prints a row, and writes the record with it; `numbers` are what the record has besides the cells."""
        self._print(cells)
        self.entries.append(numbers | {"row": dict(zip(self.columns, cells, strict=True))})
        if self.output:
            Path(self.output).write_text(json.dumps(self.entries, indent=1), "utf-8")

    def _print(self, cells: list[str]) -> None:
        print(f"| {' | '.join(cells)} |", flush=True)
