"""
What would end a run as a traceback, in one line.

In: an error of a reward function, or of a run that needs more memory than there is. Out: the end of the program, with
the field to change. Left out: what the recipe's own fields say (`trl_real.recipe`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..rewards import RewardError


SMALLER = {
    "loading the model": "Take a smaller model, or load_in_4bit with use_peft, or share it over GPUs with deepspeed.",
    "training": "Write a smaller per_device_train_batch_size: with prompts_per_step in the recipe the gradient stays "
    "the same. max_completion_length, gradient_checkpointing, use_peft and vllm_gpu_memory_utilization count too; "
    "--dry_run estimates each part.",
    "sampling": "Write a smaller batch_size or max_new_tokens.",
}
# PyTorch's allocators for CPUs, the operating system through safetensors, CUDA's own libraries
TRACES = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "CUDA out of memory")


@contextmanager
def one_line_errors(doing: str) -> Iterator[None]:
    """
    Ends the program in one line where memory does not suffice or a reward function is wrong; other errors pass.

    Args:
        doing (`str`):
            What is being done: a key of `SMALLER`.
    """
    try:
        yield
    except RewardError as error:
        raise SystemExit(f"error: {error}") from error
    except (torch.OutOfMemoryError, MemoryError, RuntimeError, OSError) as error:
        known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not known and not any(trace in str(error) for trace in TRACES):
            raise
        said = str(error).partition("\n")[0] or "no memory"
        raise SystemExit(f"error: out of memory while {doing} ({said}) {SMALLER[doing]}") from error
