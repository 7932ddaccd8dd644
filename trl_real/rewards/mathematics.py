r"""
The reward of the paper's runs: 1 for a right final answer, 0 for anything else.

In: completions and, in the column `answer`, the accepted answers. Out: 1.0 or 0.0 per completion, `None` only where no
accepted answer can be read. The final answer is the last `\boxed{...}` after the first `</think>`; math-verify
compares it in processes that are killed when they take too long, so that no answer can stop the training.

Left out: rewards for format or length, which are functions of their own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .answers import accepted_answers, final_answer, is_nonsense, is_readable, message_text, quick_verdict
from .verifier_pool import POOL, Pair


ANSWER_TIMEOUT = 5.0
BATCH_TIMEOUT = 60.0

_REWARDS: dict[str, float | None] = {"right": 1.0, "wrong": 0.0, "killed": 0.0, "no_gold": None}


def math_reward(
    prompts: list | None,
    completions: list,
    answer: list,
    *,
    require_think: bool = False,
    answer_timeout: float = ANSWER_TIMEOUT,
    batch_timeout: float = BATCH_TIMEOUT,
    log_metric: Callable[[str, float], None] | None = None,
    log_extra: Callable[[str, list], None] | None = None,
    **kwargs: Any,
) -> list[float | None]:
    r"""
    Reward function that checks the final answer of each completion against the accepted ones.

    Logs the metrics `math_reward/timeouts` (share of the completions whose answer was killed and so counts as wrong)
    and `math_reward/no_answer` (share without a final answer), and the column `final_answer` of the completions table.

    Args:
        prompts (`list`):
            Unused.
        completions (`list`):
            Completions, plain or conversational.
        answer (`list`):
            Accepted answers of each completion: a list of texts, or one text.
        require_think (`bool`, *optional*, defaults to `False`):
            Whether a completion without `</think>` is wrong. Otherwise its whole text is searched.
        answer_timeout (`float`, *optional*, defaults to `5.0`):
            Seconds for one answer.
        batch_timeout (`float`, *optional*, defaults to `60.0`):
            Seconds for all of them. What is not judged by then counts as wrong.
        log_metric (`Callable`, *optional*):
            The trainer's function to log a metric.
        log_extra (`Callable`, *optional*):
            The trainer's function to log a column of the completions table.
        **kwargs:
            Other columns, unused.

    Returns:
        `list[float | None]`: 1.0 for right, 0.0 for wrong, `None` where no accepted answer can be read.

    Example:
    ```python
    >>> math_reward(None, [r"so \boxed{\frac43}", r"so \boxed{3} or \boxed{4}"], [["4/3"], ["3", "5"]])
    [1.0, 0.0]
    ```
    """
    golds = [tuple(filter(is_readable, accepted_answers(accepted))) for accepted in answer]
    texts = [message_text(completion) for completion in completions]
    found = [final_answer(text, require_think) for text in texts]
    verdicts = judge_answers(list(zip(golds, found, strict=True)), answer_timeout, batch_timeout)
    if log_metric is not None and found:
        log_metric("math_reward/timeouts", verdicts.count("killed") / len(found))
        log_metric("math_reward/no_answer", found.count(None) / len(found))
    if log_extra is not None:
        log_extra("final_answer", [text if text is None else text[:200] for text in found])
    return [_REWARDS[verdict] for verdict in verdicts]


def make_math_reward(**options: Any) -> Callable[..., list[float | None]]:
    """
    [`math_reward`] with other options.

    Args:
        **options:
            `require_think`, `answer_timeout`, `batch_timeout`.

    Returns:
        `Callable`: a reward function; it can be pickled.
    """
    reward = partial(math_reward, **options)
    reward.__name__ = "math_reward"  # the trainer names its metrics after it
    return reward


def judge_answers(pairs: Sequence[Pair], answer_timeout: float, batch_timeout: float) -> list[str]:
    """Verdict on each (accepted answers, final answer or `None`); asks the verifier only what it must, and once."""
    verdicts = {pair: quick_verdict(*pair) for pair in pairs}
    questions: dict[Pair, Pair] = {}
    for (golds, answer), verdict in verdicts.items():
        if verdict is None:  # an answer of `None` only asks whether the accepted ones can be read
            questions[golds, answer] = golds, None if answer is None or is_nonsense(answer) else answer
    asked = list(dict.fromkeys(questions.values()))
    # the likely hangs come last, so that at the bound of the batch they cost no other answer its verdict
    asked.sort(key=lambda pair: sum(map((pair[1] or "").count, "^!")))
    replies = dict(zip(asked, POOL.judge(asked, answer_timeout, batch_timeout), strict=True))
    for pair, question in questions.items():
        killed_for_nothing = question[1] is None and replies[question] == "killed"
        verdicts[pair] = "wrong" if killed_for_nothing else replies[question]
    return [verdicts[pair] for pair in pairs]


def verifiable(answers: Sequence, answer_timeout: float = ANSWER_TIMEOUT) -> list[bool]:
    """
    Whether each row's accepted answers can be read and each is judged right against itself, by the verifier.

    Args:
        answers (`Sequence`):
            Accepted answers of each row, as in [`math_reward`].
        answer_timeout (`float`, *optional*, defaults to `5.0`):
            Seconds for one answer.

    Returns:
        `list[bool]`: one for each row.
    """
    rows = [accepted_answers(accepted) for accepted in answers]
    pairs = list({((gold,), gold): None for row in rows for gold in row if is_readable(gold)})
    verdicts = POOL.judge(pairs, answer_timeout, answer_timeout * max(1, len(pairs)))
    right = {gold for (_, gold), verdict in zip(pairs, verdicts, strict=True) if verdict == "right"}
    return [bool(row) and right.issuperset(row) for row in rows]
