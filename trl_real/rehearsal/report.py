"""
The rehearsal as text and as JSON.

In: the outcomes of the checks. Out: lines of a table, and a file to attach to a report. Left out: printing.
"""

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from .machine import gpus
from .outcome import Outcome
from .table import CHECKS, Check


WIDTH = max(len(check.name) for check in CHECKS)


def title(minutes: float) -> str:
    """What is rehearsed."""
    form = f"the whole form, on {gpus()} GPU(s)" if gpus() else "no GPU here: the small form, on a CPU"
    return f"rehearsal ({form}; at most {minutes:g} minutes)"


def line(check: Check, outcome: Outcome) -> str:
    """A row of the table."""
    taken = f"{outcome.seconds:4.0f} s" if outcome.seconds else " " * 6
    return f"  {check.name:<{WIDTH}}  {outcome.verdict:<7}  {taken}  {outcome.said}"


def write_report(path: Path, outcomes: dict[str, Outcome]) -> None:
    """Everything that was measured."""
    report = {
        "rehearsal": 1,  # version of this format
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "form": "whole" if gpus() else "small",
        "system": platform.platform(),
        "checks": {name: asdict(outcome) for name, outcome in outcomes.items()},
    }
    path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
