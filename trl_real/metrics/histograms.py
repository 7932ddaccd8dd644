"""
Histograms of the scores and weights of an optimizer step: counts in fixed bins.

Unlike quantiles, counts add up exactly over micro-steps, processes and optimizer steps. The trainer writes them into
the records of `trainer_state.json` and sends them to the trackers that draw histograms (`trackers`).
"""

import torch


# Half decades from 0.0001 to 3.2: scores are 0 on policy, small at the paper's learning rate, and 2 in the quickstart
SIZES = tuple(10 ** (half / 2) for half in range(-8, 2))
SCORE_EDGES = (*(-size for size in reversed(SIZES)), *SIZES)  # the first and the last bin are open
WEIGHT_BINS = 20  # of |∂L/∂s| as a share of its bound 1/τ
HISTOGRAMS = tuple(f"{kind}/{label}_histogram" for kind in ("scores", "weights") for label in ("positive", "negative"))


def count_bins(
    scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, tau: float
) -> dict[str, torch.Tensor]:
    """
    Counts of a micro-step for each name in `HISTOGRAMS`, without waiting for the device. Scores, labels and weights
    have the shape (B,), as in `objective.losses`; rollouts without a label (NaN) are not counted.
    """
    # 0 for |s| below the smallest size, and one more for each size reached
    size_bin = (2 * scores.abs().log10() + 9).floor().clamp(0, len(SIZES))
    score_bin = len(SIZES) + scores.sign() * size_bin
    # On policy the shares are 1/(1 + n), which are edges of bins: rounding must not decide between two bins
    weight_bin = (WEIGHT_BINS * tau * weights.abs() + 1e-3).floor().clamp(0, WEIGHT_BINS - 1)
    counts = []
    for bins, number in ((score_bin, len(SCORE_EDGES) + 1), (weight_bin, WEIGHT_BINS)):
        inside = bins[:, None] == torch.arange(number, device=bins.device)
        counts += [(inside & (labels == label)[:, None]).sum(0) for label in (1, 0)]
    return dict(zip(HISTOGRAMS, counts, strict=True))


class HistogramSums:
    """The counts since the last record of the log."""

    def __init__(self):
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, counts: dict[str, torch.Tensor]) -> None:
        """Adds the counts of an optimizer step."""
        self._sums = {name: count + self._sums.get(name, 0) for name, count in counts.items()}

    def take(self) -> dict[str, list[int]]:
        """Returns the counts as lists and starts again at zero; empty if there was no optimizer step."""
        sums, self._sums = self._sums, {}
        return {name: total.int().tolist() for name, total in sums.items()}
