"""The tables of mutants follow the code."""

from . import ALL
from .__main__ import check_places


def test_every_broken_line_stands_in_the_package_once() -> None:
    check_places()
    assert len({mutant.claim for mutant in ALL}) == len(ALL), "one claim, one mutant"
