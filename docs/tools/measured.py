"""
Writes measured numbers into the pages, from the records in docs/results/performance/: `make docs`.

A page has a number as `<!--update_phase.late.4.ratio-->0.12<!--/-->` (record, case, steps, column) and a table as
`<!--update_phase-->`, its rows and `<!--/-->`. A comment must not begin a line: it would end the paragraph. A test
compares every page with the records.
"""

import json
import re
from pathlib import Path


ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "results" / "performance"
NUMBER = re.compile(r"(<!--(\w+)\.(\w+)\.(\d+)\.(\w+)-->).*?(<!--/-->)")
TABLE = re.compile(r"(<!--(\w+)-->\n).*?(<!--/-->)", re.DOTALL)


def read_rows(record: str) -> list[dict[str, str]]:
    """The rows of a record, cells by column."""
    return [entry["row"] for entry in json.loads((RECORDS / f"{record}.json").read_text("utf-8"))]


def find_number(record: str, case: str, steps: str, column: str) -> str:
    """
    One cell of a record.

    Raises:
        `ValueError`: If not exactly one row has this case and these steps.
    """
    rows = [row for row in read_rows(record) if (row["case"], row["steps"]) == (case, steps)]
    if len(rows) != 1:
        raise ValueError(f"{record}.json: {len(rows)} rows with case {case} and {steps} steps; a number needs one.")
    return rows[0][column]


def make_table(record: str) -> str:
    """A record as a Markdown table."""
    rows = read_rows(record)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write_numbers(text: str) -> str:
    """The text of a page with the numbers and tables of the records."""
    text = NUMBER.sub(lambda found: found[1] + find_number(*found.group(2, 3, 4, 5)) + found[6], text)
    return TABLE.sub(lambda found: f"{found[1]}\n{make_table(found[2])}\n{found[3]}", text)


def pages() -> list[Path]:
    """The pages that may have numbers."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


if __name__ == "__main__":
    for page in pages():
        text = page.read_text("utf-8")
        if (written := write_numbers(text)) != text:
            page.write_text(written, "utf-8")
