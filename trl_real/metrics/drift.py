"""
Notices when updates overshoot, from the scores alone.

In: the metrics of one optimizer step after the other. Out: one sentence for the log, once in a run. The two limits
separate the runs of docs/results.md that learned from those that did not; they are rules of thumb, not theory. With
`score_clip` right rollouts may sink without harm, so the trainer does not ask.
"""

from collections import deque


WINDOW = 32  # optimizer steps that were off policy: 10 generations at 4 steps per generation
SINKING = 0.15  # of the mean size of a score
FAR = 0.2  # of tau


class DriftWatch:
    """
    Looks at the scores of the last optimizer steps.

    Args:
        tau (`float`):
            Temperature τ of the objective.
    """

    def __init__(self, tau: float):
        self._tau = tau
        self._steps: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._warned = False

    def warning(self, metrics: dict[str, float]) -> str | None:
        """What to tell the user after this step, if anything; on-policy steps, whose scores are 0, tell nothing."""
        size = metrics.get("scores/abs_mean", 0.0)
        if self._warned or size == 0.0 or "scores/positive_mean" not in metrics:
            return None
        self._steps.append((metrics["scores/positive_mean"], size))
        if len(self._steps) < WINDOW:
            return None
        right = sum(right for right, _ in self._steps) / WINDOW
        size = sum(size for _, size in self._steps) / WINDOW
        sentence = None
        if right < -SINKING * size:
            sentence = (
                f"Right rollouts have become less likely since they were sampled: their mean score over the last "
                f"{WINDOW} off-policy steps is {right:.2g}, where the mean size of a score is {size:.2g}. Updates "
                "overshoot; lower `learning_rate`, or try the experimental `score_clip`."
            )
        elif size > FAR * self._tau:
            sentence = (
                f"The policy is far from the one that generated: the mean size of a score over the last {WINDOW} "
                f"off-policy steps is {size:.2g}, with tau={self._tau:g}. Lower `learning_rate`, or the optimizer "
                "steps per generation (`num_iterations`, `steps_per_generation`), or try the experimental "
                "`score_clip`."
            )
        self._warned = sentence is not None
        return sentence
