"""Reward functions, and how a recipe names them."""

import sys
from pathlib import Path

import pytest

from trl_real.rewards import first_integer_reward, reasoning_gym_reward, resolve_reward_func


@pytest.mark.parametrize(
    ("completion", "answer", "reward"),
    [
        ("14", 14, 1.0),
        ("14\n3+3=6", "14", 1.0),
        ("The answer is 14.", 14, 1.0),
        ("7 + 7 = 14", 14, 0.0),
        ("-3", -3, 1.0),
        ("-3", 3, 0.0),
        ("014", 14, 1.0),
        ("none", 14, 0.0),
        ("1" * 10_000, 1, 0.0),
        ("", 0, 0.0),
        ("14", None, None),
        ([{"role": "assistant", "content": "14"}], 14, 1.0),
        ([{"role": "assistant", "content": None}], 14, 0.0),
    ],
)
def test_the_first_integer_of_the_completion_decides(completion: object, answer: object, reward: float | None) -> None:
    assert first_integer_reward(completions=[completion], answer=[answer], prompts=["7+7="]) == [reward]


def test_reasoning_gym_scores_the_last_answer_tag_or_the_whole_text() -> None:
    completions = ["<answer>4</answer> no: <answer> 7 </answer>", "7", "<answer>8</answer>", ""]
    completions += [[{"role": "assistant", "content": "<answer>7</answer>"}]]
    metadata = ['{"source_dataset": "chain_sum", "source_index": 0}'] * 5
    columns = dict(completions=completions, answer=["7"] * 5, metadata=metadata)
    assert reasoning_gym_reward(**columns) == [1.0, 1.0, 0.0, 0.0, 1.0]
    # Recipes score in processes that can be killed
    metrics: dict[str, float] = {}
    score = resolve_reward_func("reasoning_gym_reward")
    assert score(**columns, log_metric=metrics.__setitem__) == [1.0, 1.0, 0.0, 0.0, 1.0]
    assert metrics["reasoning_gym_reward/killed"] == 0


def test_an_answer_that_breaks_a_tasks_scorer_is_incorrect() -> None:
    # The scorer of prime_factorization calls int() on what it is given
    metadata = ['{"source_dataset": "prime_factorization", "source_index": 0, "number": 6, "factors": [2, 3]}']
    score = {text: reasoning_gym_reward([text], answer=["2 × 3"], metadata=metadata)[0] for text in ("2 × 3", "two")}
    assert score == {"2 × 3": 1.0, "two": 0.0}


def test_the_overlong_punishment_follows_the_completion_length() -> None:
    punish = resolve_reward_func("get_soft_overlong_punishment", max_completion_length=100)
    # None up to 80 tokens, then falling to -1 at 100
    assert punish(completion_ids=[[0] * 80, [0] * 90, [0] * 100]) == [0.0, -0.5, -1.0]
    with pytest.raises(ValueError, match="max_completion_length"):
        resolve_reward_func("get_soft_overlong_punishment")


def test_a_dotted_path_imports_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def shortness(completions, **kwargs):\n    return [1.0 / len(text) for text in completions]\n"
    (tmp_path / "length_rewards_of_this_test.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert resolve_reward_func("length_rewards_of_this_test.shortness")(completions=["abcd"]) == [0.25]


def test_math_rewards_are_known_by_name_and_differ_in_what_they_demand_of_thinking() -> None:
    completions = [r"so \boxed{\frac{1}{2}}", r"hm </think> so \boxed{0.5}", r"hm </think> so \boxed{2}"]
    columns = dict(prompts=[""] * 3, completions=completions, answer=[["1/2"]] * 3)
    assert resolve_reward_func("math_reward")(**columns) == [1.0, 1.0, 0.0]
    assert resolve_reward_func("math_reward_think")(**columns) == [0.0, 1.0, 0.0]
