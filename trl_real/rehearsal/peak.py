"""
Peak of memory: of the GPU, or of this process where there is none.

In: nothing. Out: bytes. On a CPU the C library should give freed blocks back at once (`GIVE_BACK`), so that the peak
is that of live tensors. Linux only, but for GPUs.
"""

import re
from pathlib import Path

import torch


# For the environment of a process that is measured: blocks of 64 kB or more go back to the system when they are freed
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}


def reset_peak() -> int:
    """Start a new peak of memory; bytes in use now."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins at what is resident now
    return _resident("VmRSS")


def in_use() -> int:
    """Bytes in use now."""
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else _resident("VmRSS")


def peak() -> int:
    """Bytes in use at the peak: of the GPU where there is one, else of this process."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _resident("VmHWM")


def _resident(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", status)[1])
