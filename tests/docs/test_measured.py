"""Measured numbers in the pages are those of the committed records."""

from pathlib import Path

import pytest

from docs.tools.measured import NUMBER, ROOT, TABLE, pages, read_rows, write_numbers


WITH_NUMBERS = [page for page in pages() if NUMBER.search(text := page.read_text("utf-8")) or TABLE.search(text)]


@pytest.mark.parametrize("page", WITH_NUMBERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_the_numbers_of_the_records(page: Path) -> None:
    text = page.read_text("utf-8")
    assert write_numbers(text) == text, "run python docs.tools.measured.py"
    assert not [line for line in text.splitlines() if NUMBER.match(line.strip())], "a number ends its paragraph"


def test_readme_performance_and_memory_take_their_numbers_from_records() -> None:
    names = {str(page.relative_to(ROOT)) for page in WITH_NUMBERS}
    assert {"README.md", "docs/performance.md", "docs/guides/memory.md"} <= names


def test_a_number_that_its_record_lacks_is_found() -> None:
    first = read_rows("update_phase")[0]
    mark = f"<!--update_phase.{first['case']}.{first['steps']}.ratio-->"
    assert write_numbers(f"{mark}9.99<!--/-->") == f"{mark}{first['ratio']}<!--/-->"
    with pytest.raises(ValueError, match="update_phase.json: 0 rows with case never"):
        write_numbers("<!--update_phase.never.4.ratio-->1<!--/-->")
