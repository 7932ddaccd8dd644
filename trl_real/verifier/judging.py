"""
Verdicts on batches of answers: what is easy is decided at once, the rest by the verifier's processes.

Verdicts are `"right"`, `"wrong"`, `"no_gold"` (no accepted answer can be read), `"killed"` (stopped at a limit, or
crashed) and `"unjudged"` (the time for the batch ended before its turn).
"""

from collections.abc import Sequence

from .answers import accepted_answers, is_nonsense, is_readable, quick_verdict
from .pool import POOL
from .tasks import Pair


ANSWER_TIMEOUT = 5.0  # seconds for each answer
BATCH_TIMEOUT = 60.0  # seconds for a batch


def judge_answers(pairs: Sequence[Pair], answer_timeout: float, batch_timeout: float) -> list[str]:
    """Verdict on each pair of accepted answers and final answer (or `None`); each question is asked once."""
    verdicts: dict[Pair, str] = {}
    questions: dict[Pair, Pair] = {}
    for golds, answer in dict.fromkeys(pairs):
        verdict = quick_verdict(golds, answer)
        if verdict is not None:
            verdicts[golds, answer] = verdict
        else:  # `None` only asks whether the accepted answers can be read
            questions[golds, answer] = golds, None if answer is None or is_nonsense(answer) else answer
    asked = list(dict.fromkeys(questions.values()))
    # Answers that are likely to hang come last: the batch may end before their turn
    asked.sort(key=lambda pair: sum(map((pair[1] or "").count, "^!")))
    replies = dict(zip(asked, POOL.judge(asked, answer_timeout, batch_timeout), strict=True))
    for pair, question in questions.items():
        no_answer = question[1] is None and replies[question] in ("killed", "unjudged")
        verdicts[pair] = "wrong" if no_answer else replies[question]
    return [verdicts[pair] for pair in pairs]


def verifiable(answers: Sequence, answer_timeout: float = ANSWER_TIMEOUT) -> list[bool]:
    """Whether the accepted answers of each row can be read, and the verifier judges each right against itself."""
    rows = [accepted_answers(accepted) for accepted in answers]
    pairs = list({((gold,), gold): None for row in rows for gold in row if is_readable(gold)})
    verdicts = POOL.judge(pairs, answer_timeout, answer_timeout * max(1, len(pairs)))
    right = {gold for (_, gold), verdict in zip(pairs, verdicts, strict=True) if verdict == "right"}
    return [bool(row) and right.issuperset(row) for row in rows]
