"""
For all tests: one thread per process, what was imported is kept out of garbage collections, and files that take long
come first, so that no process ends with one alone.
"""

import gc
import logging
import os
from collections.abc import Iterator

import pytest


LONG = "test_launch test_faults test_distributed test_tutorial test_exactness test_settings test_script".split()
# Runs that are killed are forked from a process that has imported PyTorch; with several threads a fork may hang
os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.disable()  # imports take a quarter less


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--no-loadscope-reorder` the processes take files in this order."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


def pytest_collection_finish() -> None:
    """Accelerate collects garbage when a training run starts, a second each time over all modules of the libraries."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def same_compiler() -> Iterator[None]:
    """PEFT's BOFT leaves these set where it cannot compile, and DeepSpeed would compile its operator once more."""
    names = ("CC", "CXX")
    before = {name: os.environ[name] for name in names if name in os.environ}
    yield
    for name in names:
        os.environ.pop(name, None)
    os.environ |= before


@pytest.fixture(autouse=True, scope="module")
def same_logging() -> Iterator[None]:
    """Inspect sets the root logger to errors only, and the files that follow in a process look for warnings."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
