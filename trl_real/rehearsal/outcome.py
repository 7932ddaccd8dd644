"""
What a check says.

In and out: nothing, the type is shared by those who make rows and those who print them.
"""

from dataclasses import dataclass, field
from typing import Any


OK, FAILED, NOT_RUN = "ok", "failed", "not run"


@dataclass
class Outcome:
    """
    A row of the table.

    Args:
        verdict (`str`):
            `"ok"`, `"failed"` or `"not run"`.
        said (`str`):
            What was found, with the tolerance, or why not: one line.
        numbers (`dict`):
            Everything that was measured.
        seconds (`float`):
            How long it took, with the start of its processes.
        log (`list[str]`):
            Of a check that failed: the last lines that its processes wrote.
    """

    verdict: str
    said: str
    numbers: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    log: list[str] = field(default_factory=list)


def judged(passed: bool, said: str, **numbers: Any) -> Outcome:
    """The row of a check that ran to its end."""
    return Outcome(OK if passed else FAILED, said, numbers)
