"""Every process adds up what all have: over NCCL on GPUs, over gloo on CPUs. Several processes."""

import os
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from ..machine import gpus
from ..outcome import Outcome, judged


NUMBERS = 2**24  # of 4 bytes on a GPU, a 16th of them on a CPU
PATIENCE = timedelta(seconds=60)


def check(folder: Path) -> Outcome:
    """The sum has to be exact, and the same everywhere."""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device, backend, numbers = "cpu", "gloo", NUMBERS // 16
    if gpus():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        device, backend, numbers = "cuda", "nccl", NUMBERS
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        value = torch.full((numbers,), float(rank + 1), device=device)
        dist.all_reduce(value)
        wrong = (value != size * (size + 1) / 2).sum()
        dist.all_reduce(wrong)
        seconds = seconds_of(value)
    finally:
        dist.destroy_process_group()
    speed = 4e-9 * numbers / seconds
    said = f"{backend}, {size} process{'es' * (size > 1)}: {4e-6 * numbers:.0f} MB in {1e3 * seconds:.3g} ms"
    if wrong:
        said = f"{backend}: {int(wrong)} of {numbers * size} sums are wrong"
    elif size == 1:
        said += "; with one GPU nothing was sent"
    return judged(not wrong, said, backend=backend, processes=size, wrong=int(wrong), gigabytes_per_second=speed)


def seconds_of(value: torch.Tensor, times: int = 5) -> float:
    """Of one sum, after one that warms up."""
    for timed in (False, True):
        start = time.perf_counter()
        for _ in range(times if timed else 1):
            dist.all_reduce(value)
        if value.is_cuda:
            torch.cuda.synchronize()
    return (time.perf_counter() - start) / times
