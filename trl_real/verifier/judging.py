"""
Verdicts on batches of answers: what can be said at once, and the rest asked of the verifier's processes.

In: (accepted answers, final answer or `None`) pairs. Out: one of `"right"`, `"wrong"`, `"killed"`, `"unjudged"`,
`"no_gold"` for each. Left out: finding the answer in a completion (`trl_real.verifier.answers`), and what a verdict is
worth (`trl_real.rewards`).
"""

from collections.abc import Sequence

from .answers import accepted_answers, is_nonsense, is_readable, quick_verdict
from .pool import POOL, Pair


ANSWER_TIMEOUT = 5.0  # seconds for one answer
BATCH_TIMEOUT = 60.0  # seconds for all of a batch


def judge_answers(pairs: Sequence[Pair], answer_timeout: float, batch_timeout: float) -> list[str]:
    """Verdict on each (accepted answers, final answer or `None`); asks the verifier only what it must, and once."""
    verdicts = {pair: quick_verdict(*pair) for pair in pairs}
    questions: dict[Pair, Pair] = {}
    for (golds, answer), verdict in verdicts.items():
        if verdict is None:  # an answer of `None` only asks whether the accepted ones can be read
            questions[golds, answer] = golds, None if answer is None or is_nonsense(answer) else answer
    asked = list(dict.fromkeys(questions.values()))
    # the likely hangs come last: where there are very many, the batch may end before the turn of the last
    asked.sort(key=lambda pair: sum(map((pair[1] or "").count, "^!")))
    replies = dict(zip(asked, POOL.judge(asked, answer_timeout, batch_timeout), strict=True))
    for pair, question in questions.items():
        asked_for_nothing = question[1] is None and replies[question] in ("killed", "unjudged")
        verdicts[pair] = "wrong" if asked_for_nothing else replies[question]
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
