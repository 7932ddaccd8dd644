"""Peak memory of two optimizer steps beside the estimate of the dry run."""

from dataclasses import replace
from pathlib import Path

import torch

from ..machine import gpus
from ..memory import MemoryCase, estimate, measure
from ..models import LARGE, SMALL
from ..outcome import Outcome, judged


# The estimate as a multiple of what was measured
LEAST, MOST = 0.8, 1.5
MEASURED = replace(SMALL, width=256, feed_forward=1024, layers=6, heads=4, vocabulary=1024, prompt=32, completion=96)


def check(folder: Path) -> Outcome:
    """All parameters are trained, as in the paper; an estimate that is too low is worse than one that is too high."""
    case = MemoryCase(replace(LARGE, completion=1984), 8, bf16=True) if gpus() else MemoryCase(MEASURED, 4)
    measured, estimated = measure(case, folder), estimate(case)
    ratio = estimated["peak"] / measured["peak"]
    reserved = {"reserved": torch.cuda.max_memory_reserved()} if gpus() else {}
    said = f"{measured['peak'] / 1e9:.2f} GB, estimated {estimated['peak'] / 1e9:.2f}: {ratio:.2f} times "
    said += f"({LEAST} to {MOST})"
    return judged(LEAST <= ratio <= MOST, said, measured=measured | reserved, estimated=estimated, ratio=ratio)
