r"""
Whether an answer is right.

In: an answer, its question, and a judge, which is a dictionary in the log: `require_think` and perhaps
`adjacent_boxes` for the verifier; for a recipe's rewards `reward_funcs`, `reward_weights`, `label_threshold`,
`label_reward_func` and `max_completion_length`. Out: a verdict and its reason. Left out: what follows from many
verdicts (`results.py`).
"""

import math
from typing import Any

import torch

from ..objective.labels import make_label_rule
from ..rewards.calling import call_reward
from ..rewards.functions import resolve_reward_func
from ..verifier.answers import accepted_answers, final_answer, is_readable
from ..verifier.judging import ANSWER_TIMEOUT, judge_answers
from .problems import Prompt


RIGHT = {"right": True, "wrong": False, "killed": False, "unjudged": None, "no_gold": None}


def judge_math(text: str, columns: dict[str, Any], judge: dict[str, Any]) -> dict[str, Any]:
    """By the verifier: `right` (`None` where nothing can be said), the final `answer`, and whether it gave up."""
    answer = final_answer(text, **judge)
    golds = tuple(filter(is_readable, accepted_answers(columns["answer"])))
    [verdict] = judge_answers([(golds, answer)], ANSWER_TIMEOUT, ANSWER_TIMEOUT)
    return {"right": RIGHT[verdict], "answer": answer and answer[:200], "timeout": verdict == "killed"}


def judge_by_rewards(
    text: str, ids: list[int], prompt: Prompt, columns: dict[str, Any], judge: dict[str, Any]
) -> dict[str, Any]:
    """By a recipe's rewards: `right` (`None` without a label), the `reward` that decides, and all `rewards`."""
    functions = [resolve_reward_func(name, judge["max_completion_length"]) for name in judge["reward_funcs"]]
    names = [function.__name__ for function in functions]
    completion = text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
    given = {"prompts": [prompt], "completions": [completion], "completion_ids": [ids]}
    given |= {name: [value] for name, value in columns.items()}
    found = [call_reward(function, name, given)[0] for function, name in zip(functions, names, strict=True)]
    rewards = torch.tensor([[math.nan if reward is None else float(reward) for reward in found]])
    rule = make_label_rule(names, judge["label_threshold"], judge["label_reward_func"])
    deciding = rule.rewards(rewards, torch.tensor(judge["reward_weights"] or [1.0] * len(functions)))
    label = rule.labels(deciding, torch.tensor([len(ids)]))
    numbers = [*label.tolist(), *deciding.tolist(), *rewards[0].tolist()]
    right, reward, *others = (None if math.isnan(number) else number for number in numbers)
    rewards = dict(zip(names, others, strict=True))
    return {"right": {1: True, 0: False}.get(right), "reward": reward, "rewards": rewards}


def explain(verdict: dict[str, Any], truncated: bool) -> str:
    """A verdict in words."""
    if verdict["right"] is None:
        return "It could not be judged, and counts as wrong."
    if "reward" in verdict:
        rewards = ", ".join(f"{name} {value}" for name, value in verdict["rewards"].items())
        return f"{'Right' if verdict['right'] else 'Wrong'} by its rewards: {rewards}."
    if verdict["timeout"]:
        return "The verifier gave up, which counts as wrong."
    if verdict["answer"] is None:
        return "No answer in a box where one is looked for" + (", and truncated." if truncated else ".")
    return "Right." if verdict["right"] else "Wrong."
