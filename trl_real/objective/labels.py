"""Rewards of every reward function (N, F) -> one label per rollout (N,): 1.0, 0.0 or NaN.

A rollout is positive when its reward exceeds the threshold ("a predefined verification rule", Section 4.1). A rollout
that no reward function scored, or that has no token that counts, has no label and is in neither class. A custom
`label_func` may replace the threshold.
"""

from dataclasses import dataclass, field

import torch

from .own import GroupFunction, make_labels


@dataclass
class LabelRule:
    """How a reward becomes a label: that of one function, or the weighted sum of all, is compared with a threshold."""

    threshold: float  # a rollout is positive when its reward exceeds this
    column: int | None = None  # the reward function that decides; `None`: the weighted sum, as TRL's metric `reward`
    label_func: GroupFunction | None = None  # labels (P, G) of rewards (P, G), in place of the threshold
    _seen: set[float] = field(default_factory=set, repr=False)
    _warned: bool = field(default=False, repr=False)

    def rewards(self, rewards_per_func: torch.Tensor, reward_weights: torch.Tensor) -> torch.Tensor:
        """The reward (N,) that decides, from rewards (N, F) and weights (F,); NaN if no function returned one."""
        if self.column is not None:
            return rewards_per_func[:, self.column]
        unscored = rewards_per_func.isnan().all(dim=1)
        return (rewards_per_func * reward_weights).nansum(dim=1).masked_fill(unscored, torch.nan)

    def labels(self, rewards: torch.Tensor, counted_tokens: torch.Tensor) -> torch.Tensor:
        """Labels (P, G) float32 from rewards (P, G) and the number of tokens that count (P, G)."""
        rewards = rewards.masked_fill(counted_tokens == 0, torch.nan)
        if self.label_func is None:
            labels = (rewards > self.threshold).float()
        else:
            labels = make_labels(self.label_func, rewards)
        return labels.masked_fill(rewards.isnan(), torch.nan)

    def warning(self, rewards: torch.Tensor) -> str | None:
        """One warning per run, if the rewards so far are not two values, one on each side of the threshold."""
        if self._warned or self.label_func is not None:
            return None
        self._seen.update(rewards[~rewards.isnan()].unique().tolist()[:3])
        values = ", ".join(f"{value:g}" for value in sorted(self._seen))
        message = None
        if len(self._seen) > 2:
            message = (
                f"The rewards take more than two values ({values}, ...). REAL uses labels: a rollout is correct when "
                f"its reward exceeds label_threshold={self.threshold:g}, however much. Set `label_threshold` to "
                "a value just below the lowest reward of a success, or write a `label_func`."
            )
        elif len(self._seen) == 2 and len({value > self.threshold for value in self._seen}) == 1:
            message = (
                f"All rewards so far ({values}) are on one side of label_threshold={self.threshold:g}, so every "
                "rollout has the same label and nothing is learned. Set `label_threshold` between the rewards of "
                "incorrect and correct rollouts."
            )
        self._warned = message is not None
        return message


def make_label_rule(
    reward_func_names: list[str],
    label_threshold: float | None,
    label_reward_func: str | None,
    label_func: GroupFunction | None = None,
) -> LabelRule:
    """
    The rule for these reward functions, from the fields of the configuration.

    Raises:
        `ValueError`: If there are several reward functions and nothing specifies which reward decides, or if
        `label_reward_func` is none of them.
    """
    names = ", ".join(map(repr, reward_func_names))
    if label_reward_func is not None:
        if reward_func_names.count(label_reward_func) != 1:
            raise ValueError(
                f"`label_reward_func` must name one of the reward functions ({names}), got {label_reward_func!r}."
            )
        threshold = 0.5 if label_threshold is None else label_threshold
        return LabelRule(threshold, reward_func_names.index(label_reward_func), label_func)
    if label_func is None and label_threshold is None and len(reward_func_names) > 1:
        raise ValueError(
            f"`label_reward_func`: there are {len(reward_func_names)} reward functions ({names}), so REAL must be "
            "told which one says whether a rollout is correct. Write REALConfig(label_reward_func='<the function that "
            "checks the answer>'); the others are then logged but do not influence training. Or compare the weighted "
            "sum of all with a threshold, REALConfig(label_threshold=...)."
        )
    return LabelRule(0.5 if label_threshold is None else label_threshold, label_func=label_func)


def group_shares(labels: torch.Tensor) -> dict[str, float]:
    """Shares of all-correct, all-incorrect, mixed and unlabelled groups, from labels (P, G); their sum is 1."""
    positive, negative = (labels == 1).any(dim=1), (labels == 0).any(dim=1)
    kinds = {
        "all_correct": positive & ~negative,
        "all_incorrect": negative & ~positive,
        "mixed": positive & negative,
        "unlabelled": ~(positive | negative),
    }
    return {name: members.float().mean().item() for name, members in kinds.items()}
