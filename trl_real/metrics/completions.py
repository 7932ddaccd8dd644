"""The label and the weight of a rollout in the table of completions (`log_completions`); a file keeps the numbers."""

import math


class LabelSymbol(float):
    """A label: 1.0 is printed as ✓, 0.0 as ✗, NaN as –."""

    def __str__(self) -> str:
        return "–" if math.isnan(self) else "✓" if self == 1 else "✗"


class SignedWeight(float):
    """A rollout's weight in the objective, printed with its sign: positive makes the rollout more likely."""

    def __str__(self) -> str:
        return f"{float(self):+.2f}"
