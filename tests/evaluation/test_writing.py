"""Files that are whole or not there, also where the kernel refuses to write."""

from pathlib import Path

import pytest

from tests.support.full_disk import longest_file
from trl_real.evaluation.writing import NoSpace, write_whole


def test_a_file_that_does_not_fit_leaves_the_former_one_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "table.md", "before")
    with longest_file(1000), pytest.raises(NoSpace, match=r"Could not write .*table\.md: File too large.*is kept"):
        write_whole(tmp_path / "table.md", "x" * 5000)
    assert (tmp_path / "table.md").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


def test_a_folder_that_takes_no_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match=r"Could not write .*gone/table\.md: No such file or directory"):
        write_whole(tmp_path / "gone" / "table.md", "text")
