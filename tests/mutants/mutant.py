"""One mutant: a text of one folder of the package, what replaces it, and the tests that must fail then."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A text that occurs once in a folder of the package, and its replacement."""

    claim: str  # what is wrong with the mutant
    room: str  # folder of `trl_real` that is searched, so that a text may move between its files
    old: str
    new: str
    tests: str  # arguments of pytest: the quickest tests that must fail
    survives: str | None = None  # why no test can notice, if so

    def place(self, root: Path) -> Path:
        """
        The one file with the text.

        Raises:
            `ValueError`: If the text does not occur exactly once.
        """
        files = sorted((root / "trl_real" / self.room).rglob("*.py"))
        counts = {path: path.read_text("utf-8").count(self.old) for path in files}
        if sum(counts.values()) != 1:
            raise ValueError(
                f"Mutant {self.claim!r}: {self.old!r} occurs {sum(counts.values())} times in trl_real/{self.room}, "
                f"not once. Write in {self.room}.txt how the code reads now, or remove the mutant if the line is gone."
            )
        return next(path for path, count in counts.items() if count)


def read_mutants(path: Path) -> Iterator[Mutant]:
    """The mutants of a table, whose name is that of a folder of the package; `__init__.py` has the format."""
    for block in path.read_text("utf-8").removeprefix("$ pytest ").split("\n$ pytest "):
        tests, *mutants = block.strip("\n").split("\n! ")
        for mutant in mutants:
            claim, *lines = mutant.split("\n")
            parts = {
                kind: "\n".join(line[2:] for line in of_kind) for kind, of_kind in groupby(lines, lambda line: line[0])
            }
            yield Mutant(claim, path.stem, parts["-"], parts.get("+", ""), tests, parts.get("?"))
