"""
A process that is over while a thread of gloo still waits to free the tensors of its last collective.

The time that the thread waits is made certain: the main thread lets nobody else have the interpreter, the last
collective is the last thing that happens before the interpreter ends, and its end takes a while. Without
[`end_processes`], or with `accelerator.end_training()` alone, the process aborts every time.
"""

import atexit
import sys
import time


class SlowToEnd:
    """Something that Python clears away when the interpreter ends."""

    def __del__(self) -> None:
        hold_the_interpreter(1.5)


def hold_the_interpreter(seconds: float) -> None:
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        pass


@atexit.register  # the first that is registered is the last that runs
def last_collective() -> None:
    torch.distributed.barrier()
    time.sleep(0.3 * accelerator.process_index)  # the others wait, and let go of their tensors
    torch.distributed.all_gather_into_tensor(torch.zeros(2000), torch.ones(1000), async_op=True)
    torch.distributed.barrier(async_op=True)
    hold_the_interpreter(0.7)
    end_processes(accelerator)


import torch  # noqa: E402
from accelerate import Accelerator  # noqa: E402

from trl_real.recipe.launch import end_processes  # noqa: E402


slow = SlowToEnd()
accelerator = Accelerator(cpu=True)
kept = torch.distributed.group.WORLD  # as DeepSpeed keeps it
sys.setswitchinterval(1)
