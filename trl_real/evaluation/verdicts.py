"""
Whether an answer is correct.

A judge is a dictionary in the log: for the verifier `require_think` and perhaps `adjacent_boxes`; for a recipe's
rewards `reward_funcs`, `reward_weights`, `label_threshold`, `label_reward_func` and `max_completion_length`.
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


CORRECT = {"right": True, "wrong": False, "killed": False, "unjudged": None, "no_gold": None}


def judge_math(text: str, columns: dict[str, Any], judge: dict[str, Any]) -> dict[str, Any]:
    """By the verifier: `correct` (`None` if it cannot tell), the final `answer`, and whether there was a `timeout`."""
    answer = final_answer(text, **judge)
    golds = tuple(filter(is_readable, accepted_answers(columns["answer"])))
    [verdict] = judge_answers([(golds, answer)], ANSWER_TIMEOUT, ANSWER_TIMEOUT)
    return {"correct": CORRECT[verdict], "answer": answer and answer[:200], "timeout": verdict == "killed"}


def judge_by_rewards(
    text: str, ids: list[int], prompt: Prompt, columns: dict[str, Any], judge: dict[str, Any]
) -> dict[str, Any]:
    """By a recipe's rewards: `correct` (`None` without a label), the `reward` that decides, and all `rewards`."""
    functions = [resolve_reward_func(name, judge["max_completion_length"]) for name in judge["reward_funcs"]]
    names = [function.__name__ for function in functions]
    completion = text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
    given: dict[str, Any] = {"prompts": [prompt], "completions": [completion], "completion_ids": [ids]}
    given |= {name: [value] for name, value in columns.items()}
    found = [call_reward(function, name, given)[0] for function, name in zip(functions, names, strict=True)]
    rewards = torch.tensor([[math.nan if reward is None else float(reward) for reward in found]])
    rule = make_label_rule(names, judge["label_threshold"], judge["label_reward_func"])
    deciding = rule.rewards(rewards, torch.tensor(judge["reward_weights"] or [1.0] * len(functions)))
    label = rule.labels(deciding, torch.tensor([len(ids)])).item()
    reward, *others = (None if math.isnan(each) else each for each in [deciding.item(), *rewards[0].tolist()])
    correct = None if math.isnan(label) else label == 1
    return {"correct": correct, "reward": reward, "rewards": dict(zip(names, others, strict=True))}


def explain(verdict: dict[str, Any], truncated: bool) -> str:
    """A verdict in words."""
    if verdict["correct"] is None:
        return "It could not be judged, and counts as incorrect."
    if "reward" in verdict:
        rewards = ", ".join(f"{name} {value}" for name, value in verdict["rewards"].items())
        return f"{'Correct' if verdict['correct'] else 'Incorrect'} by its rewards: {rewards}."
    if verdict["timeout"]:
        return "The verifier timed out, which counts as incorrect."
    if verdict["answer"] is None:
        return "No boxed answer in the part that is judged" + (", and truncated." if truncated else ".")
    return "Correct." if verdict["correct"] else "Incorrect."
