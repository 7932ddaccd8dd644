"""One mutant: a text of one folder of the package, what stands in its place, and the tests that must fail then."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """
    A text that occurs once in a folder of the package, and its replacement.

    Args:
        claim (`str`):
            What is wrong with the mutant.
        room (`str`):
            Folder of `trl_real` that is searched, so that a text may move between its files.
        old (`str`), new (`str`):
            The text, and what replaces it.
        tests (`str`):
            Arguments of pytest: the quickest tests that must fail.
        survives (`str`, *optional*):
            Why no test can notice, where that is so.
    """

    claim: str
    room: str
    old: str
    new: str
    tests: str
    survives: str | None = None

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
                "not once. Write in `old` how the code reads now, or remove the mutant if the line is gone."
            )
        return next(path for path, count in counts.items() if count)
