"""
From the options of an evaluation to complete logs.

In: options, perhaps what a recipe holds out. Out: for each model and set what was asked, and its verdicts; the logs
have all else. Everything that can fail before a weight is read fails first. Left out: the tables (`report.py` of the
folder above).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai import Task
from transformers import PreTrainedTokenizerBase

from ..options import DEFAULTS, EvaluationArguments
from ..problems import BENCHMARKS, HeldOut, ProblemSet, load_benchmark
from ..trained_on import find_training_data
from .logs import ABOUT, Logged, Verdict, check_same, digests, find_logs
from .models import ModelSource, encode_prompts, find_model
from .running import Engine, check_served
from .settings import SamplingSettings, default_dtype, pick_backend
from .tasks import Sampling, make_task


SAMPLING_FIELDS = tuple(SamplingSettings.__dataclass_fields__)
Questions = list[tuple[ProblemSet, dict[str, Any]]]  # each with its judge


@dataclass(frozen=True)
class Asked:
    """
    One set that one model is asked.

    Args:
        about (`dict[str, Any]`):
            What its log says of it, as in [`~trl_real.evaluation.engine.logs.Logged`].
        task (`Task`):
            The same for Inspect, with all that a former run had asked, too.
        longest (`int`):
            Tokens of the longest prompt with its answer; 0 if a server counts them.
        is_complete (`bool`):
            Whether a log has it all.
    """

    about: dict[str, Any]
    task: Task
    longest: int
    is_complete: bool


@dataclass(frozen=True)
class Respondent:
    """A model, its tokenizer unless a server has it, and the folder of its logs."""

    name: str
    source: ModelSource | None
    tokenizer: PreTrainedTokenizerBase | None
    folder: Path


def read_questions(arguments: EvaluationArguments, held_out: HeldOut | None) -> tuple[Questions, dict[str, Any]]:
    """The sets, and the values of all options that may be left open: given, or the recipe's, or the paper's."""
    given = {name: value for name, value in vars(arguments).items() if name in DEFAULTS and value not in (None, [])}
    if "chat_template_kwargs" in given:
        try:
            given["chat_template_kwargs"] = json.loads(given["chat_template_kwargs"])
        except ValueError as error:
            raise ValueError(f"chat_template_kwargs: {error}; write JSON, such as '{{\"a\": true}}'.") from error
    values = DEFAULTS
    if held_out is not None:
        questions, values = [(held_out.problems, held_out.judge)], values | held_out.settings
    else:
        judge = {"require_think": arguments.require_think is not False}
        folder = Path(arguments.data).expanduser() if arguments.data else None
        questions = [(load_benchmark(name, folder), judge) for name in arguments.benchmarks or BENCHMARKS]
    if arguments.prompt_format == "plain":
        questions = [(problems.plain(), judge) for problems, judge in questions]
    return questions, values | given


@dataclass(frozen=True)
class Wish:
    """The options, with the values of those that were left open, and the engine that follows from them."""

    arguments: EvaluationArguments
    values: dict[str, Any]
    engine: Engine

    @property
    def settings(self) -> SamplingSettings:
        return SamplingSettings(**{name: self.values[name] for name in SAMPLING_FIELDS})

    def about(self, respondent: Respondent) -> dict[str, Any]:
        """What all logs of a model say."""
        source = respondent.source
        how = {name: self.values[name] for name in SAMPLING_FIELDS}
        how |= {"seed": self.arguments.seed, "backend": self.engine.backend, "dtype": self.engine.dtype}
        how |= {"model": respondent.name, "weights": source and source.identity}
        data = find_training_data(source) if source else []
        return {"samples": self.values["samples"], "sampling": how, "training_data": data}


def sample(
    arguments: EvaluationArguments, held_out: HeldOut | None = None
) -> list[tuple[dict[str, Any], list[Verdict]]]:
    """
    Samples what is missing.

    Args:
        arguments (`EvaluationArguments`):
            The options.
        held_out (`HeldOut`, *optional*):
            What is asked in place of benchmarks.

    Returns:
        `list[tuple]`: for each model and set what was asked, and the verdicts on all samples.
    """
    questions, values = read_questions(arguments, held_out)
    wish = Wish(arguments, values, _make_engine(arguments, questions))
    if wish.settings.temperature == 0 and values["samples"] > 1:
        raise ValueError("samples: with temperature 0 all of them are the same; write --samples 1.")
    asked = [(each, _ask(each, questions, wish)) for each in _respondents(arguments, values)]
    _make_folders([respondent.folder for respondent, _ in asked])
    finished = []
    for respondent, sets in asked:
        lacking = [each for each in sets if not each.is_complete]
        if lacking:
            model = wish.engine.make_model(respondent.source, respondent.name, max(each.longest for each in lacking))
            wish.engine.run([each.task for each in lacking], model, respondent.folder)
        logs = {logged.set: logged for logged in find_logs(respondent.folder)}
        finished += [(each.about, logs[each.about["set"]].verdicts(each.about["judge"])) for each in sets]
    return finished


def _make_folders(folders: list[Path]) -> None:
    for folder in folders:
        if folders.count(folder) > 1:
            raise ValueError(f"output: two models would share the folder {folder}; rename one of them.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"output: cannot make the folder {folder}: {error.strerror}.") from error


def _make_engine(arguments: EvaluationArguments, questions: Questions) -> Engine:
    reads_ids = any("reward_funcs" in judge for _, judge in questions)
    if arguments.base_url is not None:
        if reads_ids:
            raise ValueError(
                "base_url: a recipe's rewards may read tokens, which a server keeps; name the model's folder."
            )
        plain = arguments.prompt_format == "plain"
        return Engine("server", None, arguments.batch_size, arguments.base_url, plain=plain)
    backend, dtype = pick_backend(arguments.backend), arguments.dtype or default_dtype()
    memory = arguments.vllm_gpu_memory_utilization
    if memory is not None and backend != "vllm":
        raise ValueError(
            f"vllm_gpu_memory_utilization: the backend is {backend}; leave it out, or write --backend vllm."
        )
    return Engine(backend, dtype, arguments.batch_size, None, memory, reads_ids)


def _respondents(arguments: EvaluationArguments, values: dict[str, Any]) -> list[Respondent]:
    if not values["models"]:
        raise ValueError("models: name at least one, by its hub id or its folder.")
    if arguments.base_url:
        if values["chat_template_kwargs"]:
            raise ValueError(
                "chat_template_kwargs: of the recipe; a server writes prompts by itself, name the folder."
            )
        check_served(arguments.base_url, values["models"])
    found = []
    for name in values["models"]:
        source = None if arguments.base_url else find_model(name)
        part = name.replace("/", "--").strip(".-") or "model"  # also for `.` and `../model`
        tokenizer = source and source.load_tokenizer()
        found.append(Respondent(name, source, tokenizer, Path(arguments.output) / part))
    return found


def _ask(respondent: Respondent, questions: Questions, wish: Wish) -> list[Asked]:
    """What one model is asked; `ValueError` if its logs were made otherwise."""
    names = [problems.name for problems, _ in questions]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"benchmarks: two sets have the name {name}; rename the file of one of them.")
    about = wish.about(respondent)
    former = {logged.set: logged for logged in find_logs(respondent.folder)}
    return [
        _ask_set(respondent, problems, about | {"judge": judge}, wish, former.get(problems.name))
        for problems, judge in questions
    ]


def _ask_set(
    respondent: Respondent, problems: ProblemSet, about: dict[str, Any], wish: Wish, log: Logged | None
) -> Asked:
    source, tokenizer, settings, limit = respondent.source, respondent.tokenizer, wish.settings, wish.arguments.limit
    ids = ends = None
    if source is not None:
        options = wish.values["chat_template_kwargs"] or {}
        ids = [list(each) for each in encode_prompts(tokenizer, problems.prompts, respondent.name, options)]
        ends = source.end_tokens(tokenizer) if wish.engine.backend == "vllm" else None
        _check_length(max(map(len, ids[:limit])), settings.max_new_tokens, source)
    about = about | {"set": problems.name, "title": problems.title}
    about["problems"] = digests(zip(problems.prompts, problems.columns, strict=True))
    about["prompts"] = digests(ids or problems.prompts)
    logged = _cut(about, limit, log)
    number = len(logged["problems"])
    task = make_task(
        problems.limit(number),
        ids and ids[:number],
        logged["samples"],
        about["judge"],
        Sampling(settings, wish.arguments.seed, ends),
        {ABOUT: logged},
        tokenizer if wish.engine.keep_ids else None,
    )
    longest = max(map(len, ids[:number])) + settings.max_new_tokens if ids else 0
    return Asked(_cut(about, limit, None), task, longest, log is not None and log.has(logged))


def _cut(about: dict[str, Any], limit: int | None, former: Logged | None) -> dict[str, Any]:
    """The same for the first problems only; with all that a former run had asked, which stays in the log."""
    number, samples = limit or len(about["problems"]), about["samples"]
    if former is not None:
        number, samples = max(number, len(former.about["problems"])), max(samples, former.about["samples"])
    cut = about | {"samples": samples} | {name: about[name][:number] for name in ("problems", "prompts")}
    if former is not None:
        check_same(former, cut)
    return cut


def _check_length(longest: int, max_new_tokens: int, model: ModelSource) -> None:
    room = model.longest()
    if room is not None and longest + max_new_tokens > room:
        raise ValueError(
            f"max_new_tokens: {model.name} has {room} positions, and the longest prompt takes {longest}. Write "
            f"--max_new_tokens {room - longest} or less."
        )
