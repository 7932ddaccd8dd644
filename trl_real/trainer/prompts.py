"""Whether the forwards of a run compute a prompt once for all of its rollouts, and why not.

In: the option `share_prompts`, what the models' settings say, and what the trial of the first rollouts told
(`forwards.py`). Out: one answer for the run, and for each forward whether it pays. Left out: the layout
(`update/prefixes.py`).
"""

from collections.abc import Sequence

from accelerate.logging import get_logger

from ..update.rollouts import Rollout
from ..update.sharing import LEAST_SHARE, Sharing


logger = get_logger(__name__)


class PromptSharing:
    """
    The answer, once there is one.

    Args:
        asked (`bool`, *optional*):
            The option.
        why_not (`str`, *optional*):
            What the settings of the models say against it.

    Raises:
        `ValueError`: If it is asked for and the settings say that it cannot be done.
    """

    def __init__(self, asked: bool | None, why_not: str | None):
        self.asked = asked
        self.least = 0.0 if asked else LEAST_SHARE  # share of a forward's tokens from which it pays
        self.shared: bool | None = None  # until the first rollouts have told
        self.why_not: str | None = None
        if asked is False:
            self.shared, self.why_not = False, "share_prompts is false"
        elif why_not:
            self.refuse(why_not)

    def refuse(self, reason: str) -> None:
        """
        Not in this run.

        Raises:
            `ValueError`: If `share_prompts` is true.
        """
        if self.asked:
            raise ValueError(f"`share_prompts=True` does not work here: {reason}. Leave it out.")
        self.shared, self.why_not = False, self.why_not or reason

    def decide(self, fits_all: bool, reason: str | None) -> None:
        """After the trial: of all processes, and why not on this one."""
        self.shared = fits_all
        if not fits_all:
            self.refuse(reason or "another process finds that its rollouts change")
            logger.warning(f"Every rollout computes its own prompt, which is slower: {self.why_not}.")

    def among(self, keys: Sequence[int], prompts: Sequence[int], lengths: Sequence[int]) -> Sharing | None:
        """What is shared among rows with these prompts and lengths."""
        return Sharing(keys, prompts, lengths, self.least) if self.shared else None

    def pay(self, rollouts: list[Rollout]) -> bool:
        """Whether one forward with these rollouts shares their prompts."""
        sharing = self.among(
            [rollout.prompt_key for rollout in rollouts],
            [len(rollout.prompt_ids) for rollout in rollouts],
            [rollout.length for rollout in rollouts],
        )
        return sharing is not None and sharing.saved(range(len(rollouts))) > 0
