"""Which samples are right: by the verifier of the training, and by the reward functions of a recipe."""

from typing import Any

import pytest

from trl_real.evaluation.verdicts import judge_samples


PROBLEMS = [
    {"problem": 0, "prompt": [{"role": "user", "content": "?"}], "columns": {"answer": ["4/3"]}},
    {"problem": 1, "prompt": [{"role": "user", "content": "?"}], "columns": {"answer": ["7", "9"]}},
    {"problem": 2, "prompt": [{"role": "user", "content": "?"}], "columns": {"answer": ["$"]}},
]
TEXTS = [
    (0, r"a </think> so \boxed{\frac43}"),
    (0, r"\boxed{4/3}"),
    (1, r"</think> \boxed{8} no, \boxed{9}"),
    (1, r"</think> it is 9"),
    (2, r"</think> \boxed{1}"),
]


def samples(texts: list[tuple[int, str]]) -> list[dict[str, Any]]:
    return [
        {"problem": problem, "sample": number, "text": text, "tokens": len(text), "truncated": False, "ids": [number]}
        for number, (problem, text) in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("require_think", "right", "answers"),
    [
        (True, [True, False, True, False, None], [r"\frac43", None, "9", None, "1"]),
        (False, [True, True, True, False, None], [r"\frac43", "4/3", "9", None, "1"]),
    ],
)
def test_the_verifier_judges_the_final_answers(require_think: bool, right: list, answers: list) -> None:
    verdicts = judge_samples(samples(TEXTS), PROBLEMS, {"require_think": require_think})
    assert [verdict["right"] for verdict in verdicts] == right
    assert [verdict["answer"] for verdict in verdicts] == answers
    assert [verdict["timeout"] for verdict in verdicts] == [False] * 5
    assert [(verdict["problem"], verdict["sample"]) for verdict in verdicts] == [
        (0, 0),
        (0, 1),
        (1, 2),
        (1, 3),
        (2, 4),
    ]
    assert "text" not in verdicts[0]


def test_the_verifier_takes_adjacent_boxes_for_one_answer_where_the_recipe_does() -> None:
    found = samples([(0, r"</think> \boxed{4}, \boxed{3}")])
    [verdict] = judge_samples(found, PROBLEMS, {"require_think": True, "adjacent_boxes": True})
    assert verdict["answer"] == "4, 3"


def length_reward(completions: list, **kwargs: Any) -> list[float]:
    return [float(len(completion[0]["content"])) for completion in completions]


async def number_reward(completion_ids: list, answer: list, **kwargs: Any) -> list[float | None]:
    """The number of the sample, and nothing for the first; only where the columns came along."""
    assert len(answer) == len(completion_ids)
    return [None if ids == [0] else float(ids[0]) for ids in completion_ids]


def judge(**options: Any) -> dict[str, Any]:
    names = [f"tests.evaluation.test_verdicts.{name}" for name in ("length_reward", "number_reward")]
    defaults = {"reward_funcs": names, "reward_weights": None, "max_completion_length": 9}
    return defaults | {"label_threshold": None, "label_reward_func": None} | options


def test_the_reward_that_decides_makes_an_answer_right() -> None:
    rule = judge(label_reward_func="number_reward", label_threshold=1.0)
    verdicts = judge_samples(samples([(0, "abc"), (0, "a"), (1, "a")]), PROBLEMS, rule)
    assert [verdict["right"] for verdict in verdicts] == [None, False, True]
    assert [verdict["reward"] for verdict in verdicts] == [None, 1.0, 2.0]
    assert verdicts[0]["rewards"] == {"length_reward": 3.0, "number_reward": None}


def test_without_one_the_weighted_sum_decides() -> None:
    rule = judge(label_threshold=4.5, reward_weights=[1.0, 2.0])
    verdicts = judge_samples(samples([(0, "abcde"), (0, "abc"), (1, "a")]), PROBLEMS, rule)
    assert [verdict["reward"] for verdict in verdicts] == [5.0, 5.0, 5.0]
    verdicts = judge_samples(samples([(0, "abcd"), (0, "abc"), (1, "a")]), PROBLEMS, rule)
    assert [(verdict["reward"], verdict["right"]) for verdict in verdicts] == [(4.0, False), (5.0, True), (5.0, True)]


def test_several_rewards_without_a_rule_are_refused() -> None:
    with pytest.raises(ValueError, match="There are 2 reward functions"):
        judge_samples(samples([(0, "abc")]), PROBLEMS, judge())
