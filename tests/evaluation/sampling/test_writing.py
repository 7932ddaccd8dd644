"""Files that are whole or not there, also where the kernel refuses to write."""

from pathlib import Path

import pytest

from tests.support.full_disk import longest_file
from trl_real.evaluation.sampling.writing import NoSpace, append_line, read_lines, write_lines, write_whole


def test_a_file_that_does_not_fit_leaves_the_former_one_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "table.md", "before")
    with longest_file(1000), pytest.raises(NoSpace, match=r"Could not write .*table\.md: File too large.*is kept"):
        write_whole(tmp_path / "table.md", "x" * 5000)
    assert (tmp_path / "table.md").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


def test_a_line_that_does_not_fit_leaves_the_lines_before_it(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with open(path, "ab", buffering=0) as file:
        append_line(file, path, ["first"])
        with longest_file(1000), pytest.raises(NoSpace, match="Could not write .*samples.jsonl"):
            append_line(file, path, ["x" * 5000])  # its first 1000 bytes do reach the disk
        assert path.read_text() == '["first"]\n'
        append_line(file, path, ["second"])
    assert read_lines(path) == [["first"], ["second"]]


def test_a_folder_that_takes_no_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match=r"Could not write .*gone/table\.md: No such file or directory"):
        write_whole(tmp_path / "gone" / "table.md", "text")


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b\nc\rd\x00 €"}, {"text": ""}, {"number": 0.1, "nothing": None}]
    write_lines(tmp_path / "rows.jsonl", rows)
    assert read_lines(tmp_path / "rows.jsonl") == rows
