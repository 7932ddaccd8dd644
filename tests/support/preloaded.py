"""What the processes of `processes.py` run, imported once: they are forked from the process that imports this."""

import gc
import os
from contextlib import suppress
from importlib import import_module


os.environ.setdefault("DS_ACCELERATOR", "cpu")
gc.disable()  # which would look at all modules again and again
for name in (
    "tests.crashes.run",
    "tests.support.cuts",
    "tests.support.fsdp",
    "tests.support.validation_runs",
    "tests.support.vision_cuts",
    "tests.trainer.two_processes",
    "deepspeed.runtime.zero.muon.original_muon",
):
    with suppress(ImportError):  # DeepSpeed is an extra
        import_module(name)
gc.freeze()  # and so would Accelerate in every process when a training run starts
gc.enable()
