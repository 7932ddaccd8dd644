"""The scores that Reasoning Gym gives to answers. Some scorers call `eval()` on them: see SECURITY.md."""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from .answers import message_text


@cache
def _scorer(task: str) -> Callable[..., float]:
    import reasoning_gym

    return reasoning_gym.get_score_answer_fn(task)


def reasoning_gym_reward(completions: list, answer: list[str], metadata: list[str], **kwargs: Any) -> list[float]:
    """
    The score, in [0, 1], that a Reasoning Gym task gives to the text in the last `<answer>` tag of each completion, or
    to the completion if it has no such tag. Some scorers call `eval()` on it: recipes call this function in processes
    that can be killed, with [`~trl_real.rewards.pooled`].

    Args:
        completions (`list`):
            Completions, plain or conversational.
        answer (`list[str]`), metadata (`list[str]`):
            The task's own answer and its entry as JSON: columns from [`~trl_real.data.loading.load_prompts`].
        **kwargs:
            Other columns, unused.
    """
    rewards = []
    for completion, expected, entry in zip(completions, answer, metadata, strict=True):
        text = message_text(completion)
        tagged = re.findall(r"<answer>(.*?)</answer>", text, flags=re.DOTALL)
        entry = {"answer": expected, "metadata": json.loads(entry)}
        scorer = _scorer(entry["metadata"]["source_dataset"])
        try:
            rewards.append(float(scorer((tagged[-1] if tagged else text).strip(), entry)))
        except Exception:  # some scorers raise whatever int() or eval() raises on an answer that they cannot read
            rewards.append(0.0)
    return rewards
