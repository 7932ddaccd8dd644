"""
What the table of completions shows of a rollout in place of TRL's advantage, which REAL does not use.

In: labels and weights. Out: numbers that a printed table shows as marks, and that a file keeps as numbers. Left out:
printing and writing the table (TRL, `log_completions`).
"""

import math


class Mark(float):
    """A label: 1.0 shows as ✓, 0.0 as ✗, NaN as –."""

    def __str__(self) -> str:
        return "–" if math.isnan(self) else "✓" if self == 1 else "✗"


class Pull(float):
    """How hard the objective pulls a rollout up, or down if it is negative, with two decimals."""

    def __str__(self) -> str:
        return f"{float(self):+.2f}"
