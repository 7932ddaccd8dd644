r"""
The reward of the paper's runs: 1 for a right final answer, the last `\boxed{...}` after the first `</think>`, else 0.

math-verify compares answers in processes that are killed when they take too long, so no answer can stop the training.
"""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from ..verifier.answers import accepted_answers, final_answer, is_readable, message_text
from ..verifier.judging import ANSWER_TIMEOUT, BATCH_TIMEOUT, judge_answers


_REWARDS: dict[str, float | None] = {"right": 1.0, "wrong": 0.0, "killed": 0.0, "unjudged": None, "no_gold": None}


def math_reward(
    prompts: list | None,
    completions: list,
    answer: list,
    *,
    require_think: bool = False,
    adjacent_boxes: bool = False,
    answer_timeout: float = ANSWER_TIMEOUT,
    batch_timeout: float = BATCH_TIMEOUT,
    log_metric: Callable[[str, float], None] | None = None,
    log_extra: Callable[[str, list], None] | None = None,
    **kwargs: Any,
) -> list[float | None]:
    r"""
    Reward function that compares the final answer of each completion with the accepted ones.

    Logs the metrics `math_reward/timeouts` (share of completions whose answer took too long, which counts as wrong),
    `math_reward/unjudged` (share for which the time of the batch did not suffice, without a reward) and
    `math_reward/no_answer` (share without a final answer), and the column `final_answer` of the completions table.

    Args:
        prompts (`list`):
            Unused.
        completions (`list`):
            Completions, plain or conversational.
        answer (`list`):
            Accepted answers of each completion: a list of texts, or one text.
        require_think (`bool`, *optional*, defaults to `False`):
            Whether a completion without `</think>` is wrong. Otherwise its entire text is searched.
        adjacent_boxes (`bool`, *optional*, defaults to `False`):
            Whether `\boxed{1}, \boxed{2}` is the answer `1, 2`, as in [`~trl_real.verifier.answers.last_box`].
        answer_timeout (`float`, *optional*, defaults to `5.0`):
            Seconds for each answer.
        batch_timeout (`float`, *optional*, defaults to `60.0`):
            Seconds for all of them. Every answer gets a short slice of them first, and the slow ones share the rest.
        log_metric (`Callable`, *optional*), log_extra (`Callable`, *optional*):
            The trainer's functions to log a metric and a column of the completions table.
        **kwargs:
            Other columns, unused.

    Returns:
        `list[float | None]`: 1.0 for right, 0.0 for wrong, `None` if no accepted answer can be read or the time for
        all answers did not suffice.

    Example:
    ```python
    >>> math_reward(None, [r"so \boxed{\frac43}", r"so \boxed{3} or \boxed{4}"], [["4/3"], ["3", "5"]])
    [1.0, 0.0]
    ```
    """
    golds = [tuple(filter(is_readable, accepted_answers(accepted))) for accepted in answer]
    texts = [message_text(completion) for completion in completions]
    found = [final_answer(text, require_think, adjacent_boxes) for text in texts]
    verdicts = judge_answers(list(zip(golds, found, strict=True)), answer_timeout, batch_timeout)
    if log_metric is not None and found:
        log_metric("math_reward/timeouts", verdicts.count("killed") / len(found))
        log_metric("math_reward/unjudged", verdicts.count("unjudged") / len(found))
        log_metric("math_reward/no_answer", found.count(None) / len(found))
    if log_extra is not None:
        log_extra("final_answer", [text if text is None else text[:200] for text in found])
    return [_REWARDS[verdict] for verdict in verdicts]


def make_math_reward(**options: Any) -> Callable[..., list[float | None]]:
    """[`math_reward`] with other options: `require_think`, `adjacent_boxes`, `answer_timeout`, `batch_timeout`."""
    reward = partial(math_reward, **options)
    return update_wrapper(reward, math_reward, ("__name__",), ())  # the trainer names its metrics after it
