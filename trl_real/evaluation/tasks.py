"""
Problems as tasks of Inspect, and the judge as its scorer; also the task `math` for Inspect's own command.

    inspect eval trl_real/math --model openai/gpt-5 -T problems=aime24 --epochs 4
"""

import random
from pathlib import Path
from typing import Any

import anyio.to_thread
from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    ContentReasoning,
    GenerateConfig,
    ModelOutput,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver
from transformers import PreTrainedTokenizerBase

from ..verifier.answers import accepted_answers
from .options import PAPER
from .problems import ProblemSet, load_benchmark, plain_text
from .transformers_api import TransformersAPI  # noqa: F401, which Inspect finds by its entry point here
from .verdicts import explain, judge_by_rewards, judge_math


Tokenizer = PreTrainedTokenizerBase | None
EXTRAS = {"top_k": 0, "min_p": None, "repetition_penalty": 1.0}  # what OpenAI's interface lacks, with its defaults
ROLES = {"system": ChatMessageSystem, "user": ChatMessageUser}


@task
def math(problems: str = "math500", data: str | None = None, require_think: bool = True) -> Task:
    """A benchmark (aime24, ..., a file, or `id:split` of the hub) with the paper's prompts, sampling and verifier."""
    loaded = load_benchmark(problems, Path(data).expanduser() if data else None)
    return make_task(loaded, {"require_think": require_think}, PAPER)


def make_task(
    problems: ProblemSet,
    judge: dict[str, Any],
    sampling: dict[str, Any],
    prompt_ids: list[list[int]] | None = None,
    end_tokens: list[int] | None = None,
    tokenizer: Tokenizer = None,
) -> Task:
    """
    A task of Inspect: a sample for each problem, with ids from 1 on. `sampling` has `samples` and Transformers' names.
    Engines use `prompt_ids` and `end_tokens`, which a server knows itself. Rewards need the tokenizer.
    """
    rows = [_sample(problems, number, prompt_ids) for number in range(len(problems.prompts))]
    extras = {name: sampling[name] for name, default in EXTRAS.items() if sampling.get(name, default) != default}
    extras |= {"stop_token_ids": end_tokens} if end_tokens else {}
    return Task(
        name=problems.name,
        display_name=problems.title,
        dataset=MemoryDataset(rows, name=problems.name),
        solver=generate_with_seed() if prompt_ids is None else generate(),
        scorer=verdict(judge, tokenizer),
        epochs=Epochs(sampling["samples"], "mean"),
        config=GenerateConfig(
            temperature=sampling["temperature"],
            top_p=sampling["top_p"],
            max_tokens=sampling["max_new_tokens"],
            extra_body=extras or None,
        ),
    )


def _sample(problems: ProblemSet, number: int, prompt_ids: list[list[int]] | None) -> Sample:
    prompt, columns = problems.prompts[number], problems.columns[number]
    target = list(accepted_answers(columns["answer"])) if "answer" in columns else ""
    messages: str | list[ChatMessage]
    if prompt_ids is not None:
        messages = [ChatMessageUser(content=plain_text(prompt), metadata={"prompt_token_ids": prompt_ids[number]})]
    elif isinstance(prompt, str):
        messages = prompt
    else:
        messages = [ROLES[message["role"]](content=message["content"]) for message in prompt]
    return Sample(messages, id=number + 1, target=target, metadata={"prompt": prompt, "columns": columns})


@solver
def generate_with_seed() -> Solver:
    """With a random seed: a server without one would repeat itself after a restart."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await generate(state, seed=random.getrandbits(31))

    return solve


@scorer(metrics=[mean()])
def verdict(judge: dict[str, Any], tokenizer: Tokenizer = None) -> Scorer:
    """1 for a correct answer, otherwise 0; with the reason in words, and what the tables need in the metadata."""

    async def score(state: TaskState, target: Target) -> Score:
        found = await anyio.to_thread.run_sync(judge_output, state.output, state.metadata, judge, tokenizer)
        reason = explain(found, found["truncated"])
        value = 1.0 if found["correct"] else 0.0
        return Score(value=value, answer=found.get("answer"), explanation=reason, metadata=found)

    return score


def judge_output(
    output: ModelOutput, metadata: dict[str, Any], judge: dict[str, Any], tokenizer: Tokenizer = None
) -> dict[str, Any]:
    """`correct`, `truncated`, `tokens`, `judge`, and what the judge adds, of an answer."""
    text, truncated = answer_text(output), output.stop_reason in ("max_tokens", "model_length")
    if "reward_funcs" in judge:
        assert tokenizer is not None  # `check_server` refuses rewards
        ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * (not truncated)
        found = judge_by_rewards(text, ids, metadata["prompt"], metadata["columns"], judge)
    else:
        found = judge_math(text, metadata["columns"], judge)
    tokens = output.usage.output_tokens if output.usage else 0
    return found | {"truncated": truncated, "tokens": tokens, "judge": judge}


def answer_text(output: ModelOutput) -> str:
    """The entire answer; Inspect separates the thoughts from it if a server returned it."""
    content = output.choices[0].message.content if output.choices else ""
    if isinstance(content, str):
        return content
    thoughts = "".join(f"<think>{part.reasoning}</think>" for part in content if isinstance(part, ContentReasoning))
    return thoughts + output.completion
