"""Versions and devices, and whether TRL is what this package expects."""

from pathlib import Path

from ...contract import violations
from ..machine import accelerators, versions
from ..outcome import Outcome, judged


def check(folder: Path) -> Outcome:
    """Fails if something of TRL is not as it should be, since no training runs then."""
    found, devices, broken = versions(), list(accelerators()), violations()
    said = f"{'; '.join(devices)}; torch {found['torch']}, trl {found['trl']}"
    return judged(not broken, broken[0] if broken else said, versions=found, devices=devices, violations=broken)
