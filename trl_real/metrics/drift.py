"""
Detects updates that overshoot, from the scores alone.

The two limits separate the runs of docs/results.md that learned from those that did not; they are rules of thumb, not
theory. With `score_clip`, correct rollouts may become less likely without harm, so the trainer does not ask.
"""

from collections import deque


WINDOW = 32  # off-policy optimizer steps: about 10 generations of 4 steps
SINKING = 0.15  # of the mean absolute score
FAR = 0.2  # of tau


class DriftWatch:
    """Watches the mean scores of the last off-policy optimizer steps; `tau` is the objective's temperature τ."""

    def __init__(self, tau: float):
        self._tau = tau
        self._steps: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._warned = False

    def warning(self, metrics: dict[str, float]) -> str | None:
        """A warning after this step, at most once per run; on-policy steps, whose scores are 0, do not count."""
        size = metrics.get("scores/abs_mean", 0.0)
        if self._warned or size == 0.0 or "scores/positive_mean" not in metrics:
            return None
        self._steps.append((metrics["scores/positive_mean"], size))
        if len(self._steps) < WINDOW:
            return None
        positive, size = (sum(values) / WINDOW for values in zip(*self._steps, strict=True))
        warning = None
        if positive < -SINKING * size:
            warning = (
                f"Correct rollouts have become less likely since they were sampled: over the last {WINDOW} off-policy "
                f"steps their mean score is {positive:.2g}, and the mean absolute score is {size:.2g}. Updates "
                "overshoot. Lower `learning_rate`, or set `score_clip`."
            )
        elif size > FAR * self._tau:
            warning = (
                f"The policy is far from the one that generated the rollouts: over the last {WINDOW} off-policy steps "
                f"the mean absolute score is {size:.2g}, with tau={self._tau:g}. Lower `learning_rate` or the "
                "optimizer steps per generation (`num_iterations`, `steps_per_generation`), or set `score_clip`."
            )
        self._warned = warning is not None
        return warning
