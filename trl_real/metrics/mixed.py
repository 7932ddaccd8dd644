"""
Notices when nothing trains: no group has both right and wrong rollouts, generation after generation.

In: the shares of the kinds of groups of every generation. Out: one sentence for the log, once in a run, that says what
to look at. Left out: what makes a rollout right (`trl_real.objective.labels`).
"""

GENERATIONS, GROUPS = 3, 20  # so many without a mixed one: if a fifth were mixed, a chance of 1 in 100

_REASONS = {
    "all_incorrect": "Most are all wrong: look at a few completions (log_completions=True) and at what the reward "
    "function makes of them, at `label_threshold`, and at completions/clipped_ratio (near 1: raise "
    "max_completion_length). If rewards are as they should be, take easier prompts, a stronger model, or a larger "
    "num_generations.",
    "all_correct": "Most are all right: look at a few completions (log_completions=True) and at what the reward "
    "function makes of them, and at `label_threshold`. If rewards are as they should be, take harder prompts.",
    "unlabelled": "Most have no label: the reward functions gave None, all tokens are masked out "
    "(mask_truncated_completions with a small max_completion_length), `mismatch_limit` dropped the labels, or your "
    "`label_func` gave none. Look at what the reward functions return.",
}


class MixedWatch:
    """Looks at the groups since one was mixed."""

    def __init__(self):
        self._warned = False
        self._forget()

    def _forget(self) -> None:
        self._generations = self._groups = 0
        self._shares = dict.fromkeys(_REASONS, 0.0)

    def warning(self, shares: dict[str, float], groups: int) -> str | None:
        """
        What to tell the user after this generation, if anything.

        Args:
            shares (`dict[str, float]`):
                Of groups that are `"all_correct"`, `"all_incorrect"`, `"mixed"` and `"unlabelled"`.
            groups (`int`):
                Groups of the generation.
        """
        if shares["mixed"] > 0:
            self._forget()
            return None
        self._generations += 1
        self._groups += groups
        for kind in self._shares:
            self._shares[kind] += shares[kind] * groups
        if self._warned or self._generations < GENERATIONS or self._groups < GROUPS:
            return None
        self._warned = True
        return (
            f"In the last {self._generations} generations none of {self._groups} groups had both right and wrong "
            f"rollouts, so nothing is learned from them. {_REASONS[max(self._shares, key=self._shares.get)]}"
        )
