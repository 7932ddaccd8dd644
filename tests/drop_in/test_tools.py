"""Tools, environments and own rollout functions work as with GRPOTrainer."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.support.tiny import fixed_rollouts, prompts_dataset
from tests.support.tool_model import QUESTION, multiply, tool_model, tool_tokenizer
from tests.support.trainers import config, logged, train_and_check, trainer
from trl_real import REALTrainer


QUESTIONS = Dataset.from_list([{"prompt": QUESTION}] * 4)


def answers_12(completions: list[list[dict[str, Any]]], **kwargs: Any) -> list[float]:
    return [float(completion[-1].get("content") == "12") for completion in completions]


def tool_trainer(folder: Path, **arguments: Any) -> REALTrainer:
    defaults = dict(
        model=tool_model(),
        processing_class=tool_tokenizer(),
        reward_funcs=answers_12,
        train_dataset=QUESTIONS,
        args=config(folder, max_completion_length=100, learning_rate=1e-3, log_completions=False),
    )
    return trainer(folder, **defaults | arguments)


async def multiply_later(a: int, b: int) -> int:
    return multiply(a, b)


multiply_later.__name__, multiply_later.__doc__ = multiply.__name__, multiply.__doc__


@pytest.mark.parametrize("tool", [multiply, multiply_later], ids=["sync", "async"])
def test_a_model_that_calls_a_tool_trains_on_the_conversation(tmp_path: Path, tool: Any) -> None:
    conversations: list[list[dict[str, Any]]] = []

    def reward(completions, **kwargs):
        conversations.extend(completions)
        return answers_12(completions)

    run = tool_trainer(tmp_path, reward_funcs=reward, tools=[tool])
    train_and_check(run)
    assert logged(run, "tools/call_frequency")[0] > 0.5
    complete = [conversation for conversation in conversations if len(conversation) == 3]
    assert len(complete) > len(conversations) / 2
    for call, result, answer in complete:
        arguments = call["tool_calls"][0]["function"]["arguments"]
        assert result == {"role": "tool", "name": "multiply", "content": str(multiply(**arguments))}
        assert answer["role"] == "assistant"
    assert 0 < logged(run, "reward")[0] < 1


class Multiplication:
    """An environment that asks, offers a tool, and knows whether the product was ever right."""

    def reset(self, **kwargs: Any) -> str:
        self.right = False
        return QUESTION[0]["content"]

    def multiply(self, a: int, b: int) -> int:
        self.right |= multiply(a, b) == 12
        return multiply(a, b)


Multiplication.multiply.__doc__ = multiply.__doc__


class JudgedMultiplication(Multiplication):
    def get_reward(self) -> float:
        return float(self.right)


def test_an_environment_may_own_the_prompt_and_the_reward(tmp_path: Path) -> None:
    run = tool_trainer(tmp_path, train_dataset=None, reward_funcs=None, environment_factory=JudgedMultiplication)
    train_and_check(run)
    assert 0 < logged(run, "rewards/JudgedMultiplication/mean")[0] < 1


def test_each_prompt_may_name_its_environment(tmp_path: Path) -> None:
    seen: list[type] = []

    def reward(completions, environments, environment, **kwargs):
        seen.extend(type(instance) for instance in environments)
        wanted = {"plain": Multiplication, "judged": JudgedMultiplication}
        assert all(type(instance) is wanted[name] for instance, name in zip(environments, environment, strict=True))
        return [float(instance.right) for instance in environments]

    prompt = [{"role": "user", "content": ""}]
    data = Dataset.from_list([{"prompt": prompt, "environment": name} for name in ("plain", "judged")] * 2)
    run = tool_trainer(
        tmp_path,
        train_dataset=data,
        reward_funcs=reward,
        environment_factory={"plain": Multiplication, "judged": JudgedMultiplication},
        args=config(tmp_path, max_completion_length=100, learning_rate=1e-3, label_reward_func="reward"),
    )
    train_and_check(run)
    assert set(seen) == {Multiplication, JudgedMultiplication}
    assert 0 < logged(run, "rewards/reward/mean")[0] < 1


def test_extra_fields_of_a_rollout_function_reach_the_reward(tmp_path: Path) -> None:
    def rollout_func(prompts, trainer):
        output = fixed_rollouts()(prompts, trainer)
        return output | {"verdict": [float(sum(ids) % 2) for ids in output["completion_ids"]]}

    def reward(completion_ids, verdict, **kwargs):
        assert verdict == [float(sum(ids) % 2) for ids in completion_ids]
        return verdict

    arguments = dict(reward_funcs=reward, rollout_func=rollout_func, eval_dataset=prompts_dataset(4))
    run = trainer(tmp_path, args=config(tmp_path, num_generations_eval=2), **arguments)
    run.train()
    run.evaluate()
    assert 0 < logged(run, "reward")[0] < 1 and 0 < logged(run, "eval_reward")[0] < 1
