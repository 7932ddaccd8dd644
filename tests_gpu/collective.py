"""Every process adds up what all have, over NCCL on GPUs: `torchrun --module tests_gpu.collective FILE`."""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist


NUMBERS, TIMES = 2**24, 5  # of 4 bytes on a GPU, a 16th of them on a CPU


def main(path: Path) -> None:
    """The first process writes how many sums are wrong, and gigabytes per second."""
    rank, gpu = int(os.environ["RANK"]), torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(seconds=60))
    size = dist.get_world_size()
    value = torch.full((NUMBERS if gpu else NUMBERS // 16,), float(rank + 1), device="cuda" if gpu else "cpu")
    dist.all_reduce(value)
    wrong = (value != size * (size + 1) / 2).sum()
    dist.all_reduce(wrong)
    found = dict(backend=dist.get_backend(), processes=size, wrong=wrong.item())  # which waits for both
    start = time.perf_counter()
    for _ in range(TIMES):
        dist.all_reduce(value)
    value[0].item()
    found["gigabytes_per_second"] = 4e-9 * TIMES * value.numel() / (time.perf_counter() - start)
    if rank == 0:
        path.write_text(json.dumps(found), "utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
