r"""
Which of the stored samples are right.

In: a store of samples, and its judge: the verifier of the mathematical training, or the reward functions of a recipe.
Out: one verdict for each sample, in the order of the samples. Samples that were judged once can be judged again by
other rules: nothing is sampled here. Left out: what follows from the verdicts (`trl_real.evaluation.estimates`).

The judge is a dictionary that the store keeps: `{"require_think": true}`, and `adjacent_boxes` where they are one
answer, for the verifier, or `reward_funcs` with `reward_weights`, `label_threshold`, `label_reward_func` and
`max_completion_length`.
"""

import asyncio
import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch

from ..objective.labels import make_label_rule
from ..rewards.functions import resolve_reward_func
from ..verifier.answers import accepted_answers, final_answer, is_readable
from ..verifier.judging import ANSWER_TIMEOUT, judge_answers


Sample = dict[str, Any]


def judge_samples(
    samples: Sequence[Sample], problems: Sequence[dict[str, Any]], judge: dict[str, Any]
) -> list[Sample]:
    """
    Judges samples.

    Args:
        samples (`list[dict]`):
            `problem`, `sample`, `text`, `tokens`, `truncated`, and `ids` for reward functions.
        problems (`list[dict]`):
            `problem`, `prompt`, `columns`.
        judge (`dict[str, Any]`):
            See above.

    Returns:
        `list[dict]`: for each sample `problem`, `sample`, `right` (`True`, `False`, or `None` where nothing can be
        said), `tokens` and `truncated`. The verifier adds `answer` (the final answer, or `None`) and `timeout`; reward
        functions add `reward` (the one that decides) and `rewards`.
    """
    asked = {row["problem"]: row for row in problems}
    rows = [asked[sample["problem"]] for sample in samples]
    by_verifier = "require_think" in judge
    verdicts = _by_verifier(samples, rows, judge) if by_verifier else _by_rewards(samples, rows, judge)
    kept = ("problem", "sample", "tokens", "truncated")
    return [{name: sample[name] for name in kept} | verdict for sample, verdict in zip(samples, verdicts, strict=True)]


def _by_verifier(samples: Sequence[Sample], rows: Sequence[dict], judge: dict[str, Any]) -> list[dict[str, Any]]:
    answers = [final_answer(sample["text"], **judge) for sample in samples]
    golds = [tuple(filter(is_readable, accepted_answers(row["columns"]["answer"]))) for row in rows]
    # no bound for all of them together: here nothing waits
    verdicts = judge_answers(list(zip(golds, answers, strict=True)), ANSWER_TIMEOUT, ANSWER_TIMEOUT * len(samples))
    right = {"right": True, "wrong": False, "killed": False, "unjudged": None, "no_gold": None}
    return [
        {"right": right[verdict], "answer": answer and answer[:200], "timeout": verdict == "killed"}
        for verdict, answer in zip(verdicts, answers, strict=True)
    ]


def _by_rewards(samples: Sequence[Sample], rows: Sequence[dict], judge: dict[str, Any]) -> list[dict[str, Any]]:
    functions = [resolve_reward_func(name, judge["max_completion_length"]) for name in judge["reward_funcs"]]
    prompts = [row["prompt"] for row in rows]
    texts = [sample["text"] for sample in samples]
    chats = [[{"role": "assistant", "content": text}] for text in texts]
    given = {
        "prompts": prompts,
        "completions": [
            text if isinstance(prompt, str) else chat for prompt, text, chat in zip(prompts, texts, chats, strict=True)
        ],
        "completion_ids": [sample["ids"] for sample in samples],
    }
    given |= {column: [row["columns"][column] for row in rows] for column in rows[0]["columns"]}
    rewards = torch.tensor([_call(function, given) for function in functions]).T  # (N, F)
    names = [function.__name__ for function in functions]
    rule = make_label_rule(names, judge["label_threshold"], judge["label_reward_func"])
    weights = torch.tensor(judge["reward_weights"] or [1.0] * len(functions))
    deciding = rule.rewards(rewards, weights)
    labels = rule.labels(deciding, torch.tensor([sample["tokens"] for sample in samples]))
    return [
        {
            "right": None if math.isnan(label) else label == 1,
            "reward": _number(reward),
            "rewards": dict(zip(names, map(_number, each), strict=True)),
        }
        for label, reward, each in zip(labels.tolist(), deciding.tolist(), rewards.tolist(), strict=True)
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _call(function: Any, given: dict[str, list]) -> list[float]:
    returned = function(**given)
    if inspect.isawaitable(returned):
        returned = asyncio.run(returned)
    return [math.nan if reward is None else float(reward) for reward in returned]
