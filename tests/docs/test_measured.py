"""Measured numbers in the pages are those of the committed records."""

import re
from pathlib import Path

import pytest

from docs.tools.measured import NUMBER, ROOT, TABLE, pages, read_rows, write_numbers


WITH_NUMBERS = [page for page in pages() if NUMBER.search(text := page.read_text("utf-8")) or TABLE.search(text)]
# A share, time or size; a ratio or pass@1; a cell of a table that is only a number
MEASURED = re.compile(
    r"(?<![\w.])\d[\d,.]*\s?(?:%|s|ms|seconds?|minutes?|hours?|MB|GB)(?!\w)"
    r"|(?<![\w.])[01]\.\d+(?![\w.])"
    r"|(?<=\| )\d[\d,.]*(?= \|)"
)
# Pages, and what on them looks measured but is not: a pattern, and the reason
NOT_MEASURED = {
    "README.md": {r"τ = 0\.5": "the paper's setting"},
    "docs/index.md": {r"4 GB of memory": "what the quickstart needs, rounded up"},
    "docs/performance.md": {
        r"\| [\d,]+ / [\d,]+ \|.*": "counted; a test counts them again",
        r"10% fewer tokens": "the threshold of the code",
    },
    "docs/guides/memory.md": {
        r"(?s)```.*?```": "what `--dry_run` prints: an estimate",
        r"80 GB by\s+default": "a default",
    },
    "docs/verifier.md": {
        r"answer_timeout` seconds.*?\(60\)": "defaults",
        r"`17\.5`.*`0\.175`|`\\\$0\.50`": "answers",
    },
    "docs/frozen-base.md": {},
    "recipes/quickstart.yaml": {r"4 GB of free memory": "what it needs, rounded up"},
    "recipes/graded.yaml": {},
}


def unrecorded(text: str) -> list[str]:
    """What looks measured in a text outside the marks of numbers and tables."""
    return MEASURED.findall(TABLE.sub("", NUMBER.sub("", text)))


@pytest.mark.parametrize("page", WITH_NUMBERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_the_numbers_of_the_records(page: Path) -> None:
    text = page.read_text("utf-8")
    assert write_numbers(text) == text, "run make docs"
    assert not [line for line in text.splitlines() if NUMBER.match(line.strip())], "a number ends its paragraph"


@pytest.mark.parametrize("page", NOT_MEASURED)
def test_every_measured_number_of_a_page_comes_from_a_record(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    if page.endswith(".yaml"):
        text = "\n".join(re.findall("#.*", text))
    for pattern in NOT_MEASURED[page]:
        text, found = re.subn(pattern, "", text)
        assert found, f"nothing on {page} is like {pattern} any more"
    assert unrecorded(text) == [], f"on {page}: mark it as a number of a record (docs/tools/measured.py)"


@pytest.mark.parametrize(
    ("made_up", "found"),
    [
        ("takes 0.31 of the time", ["0.31"]),
        ("in 12 minutes, with 3.9 GB and 2% more", ["12 minutes", "3.9 GB", "2%"]),
        ("| late | 713 | 0.53 |", ["713", "0.53"]),
        ("takes <!--update_phase.late.4.ratio-->0.12<!--/--> of it, then 0.99", ["0.99"]),
        ("with TRL 1.16.0 and 4 optimizer steps", []),
    ],
)
def test_a_number_without_a_record_is_found(made_up: str, found: list[str]) -> None:
    assert unrecorded(made_up) == found


def test_a_number_that_its_record_lacks_is_found() -> None:
    first = read_rows("update_phase", [])[0]
    mark = f"<!--update_phase.{first['case']}.{first['steps']}.ratio-->"
    assert write_numbers(f"{mark}9.99<!--/-->") == f"{mark}{first['ratio']}<!--/-->"
    for path, message in {
        "never.4.ratio": "no row has the cells",
        "late.ratio": "2 rows have the cells",
        "late.4.pace": "no column pace, only case",
    }.items():
        with pytest.raises(ValueError, match=f"update_phase.json: {message}"):
            write_numbers(f"<!--update_phase.{path}-->1<!--/-->")


def test_the_least_and_the_greatest_of_several_rows() -> None:
    ratios = [row["ratio"] for row in read_rows("update_phase", ["1"])]
    least, greatest = (f"<!--update_phase.1.ratio.{pick}-->" for pick in ("min", "max"))
    assert write_numbers(f"{least}<!--/-->{greatest}<!--/-->") == (
        f"{least}{min(ratios)}<!--/-->{greatest}{max(ratios)}<!--/-->"
    )


def test_the_tokens_of_shared_prompts_are_counted_right() -> None:
    page = (ROOT / "docs/performance.md").read_text("utf-8")
    rows = re.findall(r"\| ([\d,]+) / ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (\d+)%", page)
    assert len(rows) == 5
    for row in rows:
        prompt, completion, apart, once, saved = (int(cell.replace(",", "")) for cell in row)
        assert apart == 8 * (prompt + completion)
        assert once == apart - 7 * (prompt - 1)  # the last token of a prompt is computed for every rollout
        assert saved == round(100 * (1 - once / apart))
