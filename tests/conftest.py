"""For all tests: what was imported is kept out of garbage collections, of which every training run makes one."""

import gc


def pytest_collection_finish() -> None:
    """Accelerate collects garbage when a training run starts, a second each time over all modules of the libraries."""
    gc.collect()
    gc.freeze()
