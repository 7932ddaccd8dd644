"""
What is measured of a training run: seconds per generation, tokens computed, peak memory. No trainer in here.

Memory is PyTorch's own count on a GPU, else what this process has resident (Linux). There the C library should give
freed blocks back at once (`GIVE_BACK`), so that the peak is that of live tensors.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback


# For the environment of a process that is measured: blocks of 64 kB or more go back to the system when they are freed
GIVE_BACK = {"MALLOC_MMAP_MAX_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}


def now() -> float:
    """Seconds, after everything that the device was asked to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def worked() -> float:
    """Seconds of work so far: CPU time, which other programs on the machine disturb least, or with a GPU [`now`]."""
    return now() if torch.cuda.is_available() else time.process_time()


def reset_peak() -> int:
    """Starts a new peak of memory; bytes in use now."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins at what is resident now
    return in_use()


def in_use() -> int:
    """Bytes in use now."""
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else _resident("VmRSS")


def peak() -> int:
    """Bytes in use at the peak."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _resident("VmHWM")


def _resident(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", status)[1])


class Clock(TrainerCallback):
    """Every generation from its first micro-step to the end of its last optimizer step: seconds, and bytes above what
    was in use at its start (the model, the optimizer) where `memory` is asked for."""

    def __init__(self, steps: int, memory: bool = False, timer: Callable[[], float] = worked):
        self.steps, self.memory, self.timer = steps, memory, timer
        self.seconds: list[float] = []
        self.bytes: list[int] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps == 0:
            self.in_use = reset_peak() if self.memory else 0
            self.start = self.timer()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps == 0:
            self.seconds.append(self.timer() - self.start)
            if self.memory:
                self.bytes.append(peak() - self.in_use)


class TokenCounter:
    """Tokens that the model computes, with and without gradient, padding included."""

    def __init__(self, model: torch.nn.Module):
        self.grad = self.no_grad = 0
        model.model.register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        """Called before every forward."""
        tokens = kwargs["input_ids"].numel()
        if torch.is_grad_enabled():
            self.grad += tokens
        else:
            self.no_grad += tokens

    def per_generation(self, generations: int) -> tuple[int, int]:
        """With and without gradient, where all generations are alike."""
        return self.grad // generations, self.no_grad // generations
