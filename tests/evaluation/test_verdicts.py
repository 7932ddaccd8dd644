"""Whether an answer is right: by the verifier of the training, and by the reward functions of a recipe."""

from typing import Any

import pytest
from inspect_ai.model import ChatMessageAssistant, ContentReasoning, ContentText, ModelOutput

from tests.support.tiny import tiny_tokenizer
from trl_real.evaluation.tasks import judge_output
from trl_real.evaluation.verdicts import explain, judge_by_rewards, judge_math


ANSWERS = [
    (["4/3"], r"a </think> so \boxed{\frac43}"),
    (["4/3"], r"\boxed{4/3}"),
    (["7", "9"], r"</think> \boxed{8} no, \boxed{9}"),
    (["7", "9"], r"</think> it is 9"),
    (["$"], r"</think> \boxed{1}"),
]
CHAT = [{"role": "user", "content": "?"}]


@pytest.mark.parametrize(
    ("require_think", "right", "found"),
    [
        (True, [True, False, True, False, None], [r"\frac43", None, "9", None, "1"]),
        (False, [True, True, True, False, None], [r"\frac43", "4/3", "9", None, "1"]),
    ],
)
def test_the_verifier_judges_the_final_answer(require_think: bool, right: list, found: list) -> None:
    verdicts = [judge_math(text, {"answer": gold}, {"require_think": require_think}) for gold, text in ANSWERS]
    assert [verdict["correct"] for verdict in verdicts] == right
    assert [verdict["answer"] for verdict in verdicts] == found
    assert [verdict["timeout"] for verdict in verdicts] == [False] * 5


def test_the_verifier_takes_adjacent_boxes_for_one_answer_where_the_recipe_does() -> None:
    rule = {"require_think": True, "adjacent_boxes": True}
    assert judge_math(r"</think> \boxed{4}, \boxed{3}", {"answer": ["4/3"]}, rule)["answer"] == "4, 3"


def test_a_verdict_is_explained() -> None:
    found = {"correct": False, "answer": None, "timeout": False}
    assert explain(found, truncated=True) == "No boxed answer in the part that is judged, and truncated."
    assert explain(found | {"answer": "1"}, truncated=False) == "Incorrect."
    assert explain(found | {"timeout": True}, truncated=False).startswith("The verifier timed out")
    assert explain(found | {"correct": None}, truncated=False).startswith("It could not be judged")


def test_the_thoughts_that_a_server_keeps_apart_count_as_thoughts() -> None:
    parts = [ContentReasoning(reasoning="so"), ContentText(text=r"\boxed{2}")]
    output = ModelOutput.from_message(ChatMessageAssistant(content=parts), stop_reason="stop")
    asked = {"prompt": CHAT, "columns": {"answer": ["2"]}}
    found = judge_output(output, asked, {"require_think": True})
    assert found["correct"] and not found["truncated"]
    cut = ModelOutput.from_content("m", r"so \boxed{2}", stop_reason="max_tokens")
    assert judge_output(cut, asked, {"require_think": True}) | {"tokens": 0} == {
        **{"correct": False, "answer": None, "timeout": False, "truncated": True, "tokens": 0},
        "judge": {"require_think": True},
    }


def length_reward(completions: list, **kwargs: Any) -> list[float]:
    return [float(len(completion[0]["content"])) for completion in completions]


async def number_reward(completion_ids: list, answer: list, **kwargs: Any) -> list[float | None]:
    """The first token, and nothing for token 0; only where the columns came along."""
    assert len(answer) == len(completion_ids)
    return [None if ids[0] == 0 else float(ids[0]) for ids in completion_ids]


def judge(text: str, ids: list[int], **options: Any) -> dict[str, Any]:
    names = [f"tests.evaluation.test_verdicts.{name}" for name in ("length_reward", "number_reward")]
    rules = {"reward_funcs": names, "reward_weights": None, "max_completion_length": 9}
    rules |= {"label_threshold": None, "label_reward_func": None} | options
    return judge_by_rewards(text, ids, CHAT, {"answer": ["1"]}, rules)


def test_the_named_reward_decides_whether_an_answer_is_correct() -> None:
    rule = {"label_reward_func": "number_reward", "label_threshold": 1.0}
    verdicts = [judge(text, [number], **rule) for number, text in enumerate(("abc", "a", "a"))]
    assert [verdict["correct"] for verdict in verdicts] == [None, False, True]
    assert [verdict["reward"] for verdict in verdicts] == [None, 1.0, 2.0]
    assert verdicts[0]["rewards"] == {"length_reward": 3.0, "number_reward": None}


def test_without_a_named_reward_the_weighted_sum_decides_by_a_threshold() -> None:
    verdict = judge("abc", [1], label_threshold=4.5, reward_weights=[1.0, 2.0])
    assert (verdict["reward"], verdict["correct"]) == (5.0, True)
    assert judge("ab", [1], label_threshold=4.5, reward_weights=[1.0, 2.0])["correct"] is False
    with pytest.raises(ValueError, match="there are 2 reward functions"):
        judge("abc", [1])


def test_rewards_read_the_tokens_of_an_answer_with_the_one_that_ends_it() -> None:
    rule = {"reward_funcs": ["tests.evaluation.test_verdicts.tokens_reward"], "reward_weights": None}
    rule |= {"label_threshold": 2.5, "label_reward_func": None, "max_completion_length": 9}
    asked = {"prompt": "?", "columns": {}}
    for stop, right in (("stop", True), ("max_tokens", False)):
        output = ModelOutput.from_content("m", "w1 w2", stop_reason=stop)
        assert judge_output(output, asked, rule, tiny_tokenizer())["correct"] is right


def tokens_reward(completion_ids: list, **kwargs: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids]
