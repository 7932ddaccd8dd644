"""Detects that nothing is learned: generation after generation without a group of correct and incorrect rollouts."""

GENERATIONS, GROUPS = 3, 20  # without a mixed group; if a fifth were mixed, this would be a chance of 1 in 100

_ADVICE = {
    "all_incorrect": "Most are all incorrect: look at a few completions (log_completions=True) and their rewards, at "
    "`label_threshold`, and at completions/clipped_ratio (near 1: raise max_completion_length). If the rewards are as "
    "they should be, use easier prompts, a stronger model, or a larger num_generations.",
    "all_correct": "Most are all correct: look at a few completions (log_completions=True) and their rewards, and at "
    "`label_threshold`. If the rewards are as they should be, use harder prompts.",
    "unlabelled": "Most have no label: the reward functions returned None, all tokens are masked out "
    "(mask_truncated_completions with a small max_completion_length), `mismatch_limit` dropped the labels, or your "
    "`label_func` returned none. Look at what the reward functions return.",
}


class MixedWatch:
    """Counts the groups since the last mixed one."""

    def __init__(self):
        self._warned = False
        self._reset()

    def _reset(self) -> None:
        self._generations = self._groups = 0
        self._counts = dict.fromkeys(_ADVICE, 0.0)

    def warning(self, shares: dict[str, float], groups: int) -> str | None:
        """A warning, at most once per run, after a generation of so many groups, with their shares by kind."""
        if shares["mixed"] > 0:
            self._reset()
            return None
        self._generations += 1
        self._groups += groups
        for kind in self._counts:
            self._counts[kind] += shares[kind] * groups
        if self._warned or self._generations < GENERATIONS or self._groups < GROUPS:
            return None
        self._warned = True
        most = max(self._counts, key=lambda kind: self._counts[kind])
        return (
            f"In the last {self._generations} generations none of {self._groups} groups had both correct and "
            f"incorrect rollouts, so nothing is learned from them. {_ADVICE[most]}"
        )
