"""How the scores and weights of an optimizer step are spread: counts in fixed bins.

In: scores, labels and weights (B,) of a micro-step. Out: for right and for wrong rollouts the counts in every bin.
Counts add up exactly over micro-steps, processes and optimizer steps, which quantiles do not. The trainer writes them
into the records of `trainer_state.json`, and gives them to the trackers that draw histograms (`trackers`).
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
    Counts of a micro-step, without waiting for the device.

    Args:
        scores, labels, weights (`torch.Tensor` of shape `(B,)`):
            As in `objective.losses`; a rollout without a label (NaN) counts nowhere.
        tau (`float`):
            Temperature τ.

    Returns:
        `dict[str, torch.Tensor]`: For each name in `HISTOGRAMS` the counts, one more than `SCORE_EDGES` for scores,
        `WEIGHT_BINS` for weights.
    """
    # 0 for |s| below the smallest size, then one more for each size that is reached
    size_bin = (2 * scores.abs().log10() + 9).floor().clamp(0, len(SIZES))
    score_bin = len(SIZES) + scores.sign() * size_bin
    # On policy the shares are 1/(1 + n), which lie on edges: rounding must not decide where they go
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
        self._sums = {name: self._sums.get(name, 0) + count for name, count in counts.items()}

    def take(self) -> dict[str, list[int]]:
        """The counts as lists; starts at zero again. Nothing if there was no optimizer step."""
        sums, self._sums = self._sums, {}
        return {name: total.int().tolist() for name, total in sums.items()}
