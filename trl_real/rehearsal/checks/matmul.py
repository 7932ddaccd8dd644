"""A product of matrices in bfloat16, beside the same numbers in float32."""

import time
from pathlib import Path

import torch

from ..machine import gpus
from ..outcome import Outcome, judged


# Of the largest entry: the result has 8 bits, and the sum inside has to be in float32
TOLERANCE = 2**-7


def check(folder: Path) -> Outcome:
    """The largest error, and how fast it was."""
    device, size = ("cuda", 8192) if gpus() else ("cpu", 256)
    torch.manual_seed(0)
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    torch.backends.cuda.matmul.allow_tf32 = False
    exact = left.float() @ right.float()
    error = ((left @ right).float() - exact).abs().max() / exact.abs().max()
    speed = 2e-12 * size**3 / seconds_of(left, right)
    said = f"off by {error:.1e} (at most {TOLERANCE:.1e}), {speed:.3g} TFLOP/s"
    return judged(bool(error <= TOLERANCE), said, error=error.item(), tflops=speed)


def seconds_of(left: torch.Tensor, right: torch.Tensor, times: int = 10) -> float:
    """Of one product."""

    def now() -> float:
        if left.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    start = now()
    for _ in range(times):
        left @ right
    return (now() - start) / times
