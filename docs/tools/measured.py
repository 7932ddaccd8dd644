"""
Writes measured numbers into the pages, from the records in docs/results/performance/: `make docs`.

A page has a number as `<!--update_phase.late.4.ratio-->0.12<!--/-->`: the record, cells that only one of its rows has,
and the column. With `.min` or `.max` behind the column it is the least or greatest of all rows that have the cells. A
table is `<!--update_phase-->`, its rows and `<!--/-->`, or `<!--memory_estimates.51e6-->` for the rows that have a
cell. A comment must not begin a line: it would end the paragraph. A test compares every page with the records.
"""

import json
import re
from pathlib import Path


ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "results" / "performance"
NUMBER = re.compile(r"(<!--(\w+)\.([^>\n]+)-->).*?(<!--/-->)")
TABLE = re.compile(r"(<!--(\w+)((?:\.[^>\n]+)?)-->\n).*?(<!--/-->)", re.DOTALL)


def read_rows(record: str, words: list[str]) -> list[dict[str, str]]:
    """The rows of a record that have all these words as cells; cells by column."""
    rows = [entry["row"] for entry in json.loads((RECORDS / f"{record}.json").read_text("utf-8"))]
    found = [row for row in rows if set(words) <= set(row.values())]
    if not found:
        raise ValueError(f"{record}.json: no row has the cells {words}.")
    return found


def find_number(record: str, path: str) -> str:
    """
    One cell of a record.

    Raises:
        `ValueError`: If the record has no such row or column, or several such rows.
    """
    *words, column = path.split(".")
    pick = {"min": min, "max": max}.get(column)
    if pick:
        *words, column = words
    rows = read_rows(record, words)
    if column not in rows[0]:
        raise ValueError(f"{record}.json: no column {column}, only {', '.join(rows[0])}.")
    if pick:
        return pick((row[column] for row in rows), key=lambda cell: float(cell.rstrip("%").replace(",", "")))
    if len(rows) > 1:
        raise ValueError(f"{record}.json: {len(rows)} rows have the cells {words}; a number needs one.")
    return rows[0][column]


def make_table(record: str, words: list[str]) -> str:
    """A record, or the rows that have all these words as cells, as a Markdown table."""
    rows = read_rows(record, words)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write_numbers(text: str) -> str:
    """The text of a page with the numbers and tables of the records."""
    text = NUMBER.sub(lambda found: found[1] + find_number(*found.group(2, 3)) + found[4], text)
    return TABLE.sub(lambda found: f"{found[1]}\n{make_table(found[2], found[3].split('.')[1:])}\n{found[4]}", text)


def pages() -> list[Path]:
    """The pages that may have numbers."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


if __name__ == "__main__":
    for page in pages():
        text = page.read_text("utf-8")
        if (written := write_numbers(text)) != text:
            page.write_text(written, "utf-8")
