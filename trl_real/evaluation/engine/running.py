"""
Runs what is missing of an evaluation, model by model, on Inspect.

In: for each model its tasks, and the folder of its logs. Out: nothing but complete logs: what a former run has logged
is taken over, also where it was killed. One model is loaded at a time. Left out: what is asked (`tasks.py`), and what
the logs say (`logs.py`).
"""

import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from inspect_ai import Task, eval_set
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, get_model

from . import registry  # noqa: F401, names the engine
from .logs import remove_older
from .models import ModelSource


SERVED_AT_A_TIME = 512
KEY = "OPENAI_API_KEY"
RETRIES = 8  # of a request to a server
FLUSHES = 100  # of a log; what is not in it yet is in Inspect's buffer, which a kill leaves
FULL = ("disk I/O error", "disk is full", "No space left", "File too large", "quota exceeded")


@dataclass(frozen=True)
class Engine:
    """
    What runs a model.

    Args:
        backend (`str`):
            `"transformers"`, `"vllm"`, or `"server"`.
        dtype (`str`, *optional*):
            Precision of the weights; not for a server.
        batch_size (`int`, *optional*):
            Answers at a time.
        base_url (`str`, *optional*):
            Address of a server.
        memory (`float`, *optional*):
            Share of the accelerator's memory that vLLM takes.
        keep_ids (`bool`, *optional*, defaults to `False`):
            Whether completions are needed as tokens.
        plain (`bool`, *optional*, defaults to `False`):
            Whether a server is sent bare text.
    """

    backend: str
    dtype: str | None
    batch_size: int | None = None
    base_url: str | None = None
    memory: float | None = None
    keep_ids: bool = False
    plain: bool = False

    def make_model(self, source: ModelSource | None, name: str, longest: int) -> Model:
        """
        The model for Inspect, ready to answer; `ValueError` if it is not to be had.

        Args:
            source (`ModelSource`, *optional*):
                The model, but for one that a server has.
            name (`str`):
                What a server calls it.
            longest (`int`):
                Tokens of the longest prompt with its answer.
        """
        if self.backend == "server":
            interface = "openai-api-completions" if self.plain else "openai-api"
            key = os.environ.get(KEY, "none")
            return get_model(f"{interface}/server/{name}", base_url=self.base_url, api_key=key, memoize=False)
        if self.backend == "vllm":
            return _make_vllm(source, self.dtype, longest, self.memory)
        how = {"dtype": self.dtype, "keep_ids": self.keep_ids}
        how |= {"batch_size": self.batch_size} if self.batch_size else {}
        model = get_model(f"trl-real/{source.name}", memoize=False, **how)
        model.api.load()
        return model

    def run(self, tasks: Sequence[Task], model: Model, folder: Path) -> None:
        """
        Samples and judges what the logs lack, and frees the model.

        Args:
            tasks (`Sequence[Task]`):
                The sets that the model is asked.
            model (`Model`):
                What [`Engine.make_model`] made.
            folder (`Path`):
                Its logs.
        """
        batch = self.batch_size or SERVED_AT_A_TIME
        at_a_time = model.api.max_connections() if self.backend == "transformers" else batch
        try:
            with _alone(folder):
                _run_tasks(tasks, model, folder, at_a_time)
        finally:
            if self.backend != "server":  # which others started
                model.api.close()


def check_served(base_url: str, names: Sequence[str]) -> None:
    """`ValueError` if there is no server, or if it does not have the models."""
    import openai

    try:
        client = openai.OpenAI(base_url=base_url, api_key=os.environ.get(KEY, "none"), max_retries=1)
        served = [model.id for model in client.models.list()]
    except openai.OpenAIError as error:
        raise ValueError(
            f"base_url: {base_url} does not answer as a server with OpenAI's interface ({error}). Write its address "
            f"with the path, such as http://localhost:8000/v1, and its key, if it needs one, into {KEY}."
        ) from error
    for name in names:
        if name not in served:
            raise ValueError(f"models: {base_url} has no {name}, only {', '.join(served)}.")


def _make_vllm(source: ModelSource, dtype: str, longest: int, memory: float | None) -> Model:
    """A server of vLLM, which Inspect starts and ends; the model is spread over the visible GPUs."""
    weights = source.base or source
    # vLLM would otherwise take the model's own defaults for what is left out
    options: dict[str, Any] = {"dtype": dtype, "max_model_len": longest, "generation_config": "vllm", "seed": 0}
    options |= {"revision": weights.revision} if weights.revision else {}
    options |= {"gpu_memory_utilization": memory} if memory else {}
    gpus = torch.cuda.device_count()
    if gpus > 1 and "tensor_parallel_size" not in os.environ.get("VLLM_DEFAULT_SERVER_ARGS", ""):
        options["data_parallel_size"] = gpus
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where the command vllm is
    name = weights.path
    if source.base is not None:
        name += f":{source.path}" + (f"@{source.revision}" if source.revision else "")
        options["max_lora_rank"] = _lora_rank(source)
    try:
        return get_model(f"vllm-completions/{name}", memoize=False, lazy_init=False, host="127.0.0.1", **options)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        command = next((line for line in lines if line.startswith("vllm serve")), lines[0])
        raise ValueError(
            f"backend: vLLM did not start; `{command}` says why. If it is memory, write a smaller "
            "--vllm_gpu_memory_utilization, or end what else is on the GPU."
        ) from error


def _lora_rank(source: ModelSource) -> int:
    """The next rank that vLLM has room for."""
    from peft import PeftConfig

    return max(8, 2 ** (PeftConfig.from_pretrained(source.path, revision=source.revision).r - 1).bit_length())


def _run_tasks(tasks: Sequence[Task], model: Model, folder: Path, at_a_time: int) -> None:
    try:
        done, logs = _run(tasks, model, folder, at_a_time)
    except (OSError, sqlite3.Error) as error:
        raise ValueError(_no_room(error, folder)) from error
    if not done:
        _raise(logs, folder)
    remove_older(folder)


def _run(tasks: Sequence[Task], model: Model, folder: Path, at_a_time: int) -> tuple[bool, list[EvalLog]]:
    return eval_set(
        list(tasks),
        model=model,
        log_dir=str(folder),
        log_dir_allow_dirty=True,  # other sets that it was asked before
        log_buffer=max(10, max(_samples(task) for task in tasks) // FLUSHES),
        log_model_api=False,
        log_level="error",
        max_tasks=1,
        max_samples=at_a_time + at_a_time // 4,  # some are being judged
        max_connections=at_a_time,
        max_retries=RETRIES,
        retry_attempts=0,
        retry_immediate=False,
        fail_on_error=True,
        display="rich" if sys.stderr.isatty() and sys.stdout.isatty() else "plain",
        score_display=False,
    )


def _samples(task: Task) -> int:
    return len(task.dataset) * task.epochs


def _raise(logs: Sequence[EvalLog], folder: Path) -> None:
    failed = next((log for log in logs if log.status != "success"), None)
    if failed is None or failed.error is None:
        raise SystemExit(f"Stopped. All that is done is kept in {folder}; the same command goes on.")
    message = failed.error.message
    if any(trace in message for trace in FULL):
        raise ValueError(_no_room(message, folder))
    raise ValueError(f"{message} All that is done is kept in {folder}; the same command goes on.")


def _no_room(error: object, folder: Path) -> str:
    return (
        f"output: could not write to {folder}, or to the buffer of Inspect in the home folder ({error}). All that is "
        "done is kept. Make room, then start the same command again; it goes on from there."
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second program from sampling the same."""
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"output: another process is writing to {folder}; wait for it, or choose another --output."
            ) from error
        yield
