"""
Problems as tasks of Inspect.

In: a set of problems, how to sample, and the judge. Out: a task whose samples carry the prompt, exactly as the model
is to read it, and whose scorer is the judge of this package; and the task `math` for those who run Inspect by its own
command. Left out: which model answers (`running.py`).

    inspect eval trl_real/math --model openai/gpt-5 -T problems=aime24 -T samples=4
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from transformers import PreTrainedTokenizerBase

from ...verifier.answers import accepted_answers
from ..options import PAPER
from ..problems import ProblemSet, load_benchmark, plain_text
from ..verdicts import judge_samples
from .settings import SamplingSettings, sample_seed


@dataclass(frozen=True)
class Sampling:
    """
    What is asked of an engine.

    Args:
        settings (`SamplingSettings`):
            How to sample.
        seed (`int`):
            Of the evaluation.
        end_tokens (`list[int]`, *optional*):
            Tokens that end an answer, for an engine that must be told.
    """

    settings: SamplingSettings
    seed: int
    end_tokens: list[int] | None = None

    def config(self) -> GenerateConfig:
        """The same for Inspect."""
        extras = self.settings.extras() | ({"stop_token_ids": self.end_tokens} if self.end_tokens else {})
        return GenerateConfig(
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            max_tokens=self.settings.max_new_tokens,
            extra_body=extras or None,
        )


def make_task(
    problems: ProblemSet,
    prompt_ids: list[list[int]] | None,
    samples: int,
    judge: dict[str, Any],
    sampling: Sampling,
    metadata: dict[str, Any] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Task:
    """
    A task of Inspect.

    Args:
        problems (`ProblemSet`):
            What is asked.
        prompt_ids (`list[list[int]]`, *optional*):
            The prompts as tokens, which the engine then takes as they are. Default: it writes them itself.
        samples (`int`):
            Answers to each problem: Inspect's epochs.
        judge (`dict[str, Any]`):
            As in `trl_real.evaluation.verdicts`.
        sampling (`Sampling`):
            How to sample.
        metadata (`dict[str, Any]`, *optional*):
            What the log says beside.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            For rewards that read tokens, of an engine that does not tell them.

    Returns:
        `Task`: one sample for each problem; their ids count from 1.
    """
    rows = [_sample(problems, number, prompt_ids) for number in range(len(problems.prompts))]
    return Task(
        name=problems.name,
        display_name=problems.title,
        dataset=MemoryDataset(rows, name=problems.name),
        solver=answer(problems.name, sampling.seed),
        scorer=verdict(judge, tokenizer),
        epochs=Epochs(samples, "mean"),
        config=sampling.config(),
        metadata=metadata,
    )


def _sample(problems: ProblemSet, number: int, prompt_ids: list[list[int]] | None) -> Sample:
    prompt, columns = problems.prompts[number], problems.columns[number]
    target = list(accepted_answers(columns["answer"])) if "answer" in columns else ""
    if prompt_ids is not None:
        asked = [ChatMessageUser(content=plain_text(prompt), metadata={"prompt_token_ids": list(prompt_ids[number])})]
    elif isinstance(prompt, str):
        asked = prompt
    else:
        kinds = {"system": ChatMessageSystem, "user": ChatMessageUser}
        asked = [kinds[message["role"]](content=message["content"]) for message in prompt]
    return Sample(asked, id=number + 1, target=target, metadata={"prompt": prompt, "columns": columns})


@solver
def answer(problems: str, seed: int) -> Solver:
    """One completion, by a seed that every sample has for itself."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await generate(state, seed=sample_seed(seed, problems, int(state.sample_id) - 1, state.epoch - 1))

    return solve


def verdict(judge: dict[str, Any], tokenizer: PreTrainedTokenizerBase | None = None) -> Scorer:
    """The verdict of this package's judge: 1 where the answer is right, else 0; everything else is in the metadata."""

    @scorer(metrics=[mean()], name="verdict")
    def judged_by(rules: dict[str, Any]) -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            found = await anyio.to_thread.run_sync(judge_state, state, rules, tokenizer)
            value = 1.0 if found["right"] else 0.0
            return Score(value=value, answer=found.get("answer"), explanation=explain(found), metadata=found)

        return score

    return judged_by(judge)


def judge_state(
    state: TaskState, judge: dict[str, Any], tokenizer: PreTrainedTokenizerBase | None = None
) -> dict[str, Any]:
    """The verdict on what a model has answered, as in `trl_real.evaluation.verdicts`."""
    number, output = int(state.sample_id) - 1, state.output
    row = {"problem": number, "sample": state.epoch - 1, "text": output.completion}
    row["tokens"] = output.usage.output_tokens if output.usage else 0
    row["truncated"] = output.stop_reason in ("max_tokens", "model_length")
    if "reward_funcs" in judge:
        row["ids"] = (output.metadata or {}).get("completion_ids") or _encode(row, tokenizer)
    [found] = judge_samples([row], [{"problem": number, **state.metadata}], judge)
    return found | {"judge": judge}


def _encode(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of an answer that came as text, with the one that ended it."""
    ids = tokenizer(row["text"], add_special_tokens=False)["input_ids"]
    return ids if row["truncated"] else [*ids, tokenizer.eos_token_id]


def explain(found: dict[str, Any]) -> str:
    """A verdict in words."""
    if found["right"] is None:
        return "It could not be judged, and counts as wrong."
    if "reward" in found:
        rewards = ", ".join(f"{name} {value}" for name, value in found["rewards"].items())
        return f"{'Right' if found['right'] else 'Wrong'} by its rewards: {rewards}."
    if found["timeout"]:
        return "The verifier gave up, which counts as wrong."
    if found["answer"] is None:
        return "No answer in a box where one is looked for" + (", and cut off." if found["truncated"] else ".")
    return "Right." if found["right"] else "Wrong."


@task
def math(
    problems: str = "math500",
    data: str | None = None,
    samples: int = PAPER["samples"],
    limit: int | None = None,
    require_think: bool = True,
    max_new_tokens: int = PAPER["max_new_tokens"],
    seed: int = 0,
) -> Task:
    """
    One of the paper's benchmarks, in its prompt format, with its sampling and this package's verifier.

    Args:
        problems (`str`, *optional*, defaults to `"math500"`):
            aime24, aime25, math500, amc23, minerva, olympiad, a file, or a hub id (`name:split`).
        data (`str`, *optional*):
            Folder with the files of the six. Default: the hub.
        samples (`int`, *optional*, defaults to `16`):
            Answers to each problem.
        limit (`int`, *optional*):
            Only the first problems.
        require_think (`bool`, *optional*, defaults to `True`):
            Whether an answer must be behind `</think>`.
        max_new_tokens (`int`, *optional*, defaults to `8192`):
            Longest answer.
        seed (`int`, *optional*, defaults to `0`):
            Decides which samples are drawn.
    """
    asked = load_benchmark(problems, Path(data).expanduser() if data else None).limit(limit)
    how = {name: PAPER[name] for name in ("temperature", "top_p", "top_k")}
    settings = SamplingSettings(**how, min_p=None, repetition_penalty=1.0, max_new_tokens=max_new_tokens)
    return make_task(asked, None, samples, {"require_think": require_think}, Sampling(settings, seed))
