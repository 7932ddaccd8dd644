"""For all tests: one thread per process, and what was imported is kept out of garbage collections."""

import gc
import os


# Runs that are killed are forked from a process that has imported PyTorch; with several threads a fork may hang
os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.disable()  # imports take a quarter less


def pytest_collection_finish() -> None:
    """Accelerate collects garbage when a training run starts, a second each time over all modules of the libraries."""
    gc.collect()
    gc.freeze()
    gc.enable()
