"""
Forwards without a gradient run without gradient checkpointing.

In: a model. Out: the same, with its layers' switches off for a while. TRL has a context for it that lets Transformers
enable checkpointing again at every exit; each time the embedding gets one more forward hook, which is never removed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def without_checkpointing(model: nn.Module) -> Iterator[None]:
    """Until the end of the block no layer recomputes; TRL finds nothing to turn off in it, and nothing to enable."""
    # Own attributes alone: a wrapper of PEFT hands on what it is asked for
    layers: list[Any] = [module for module in model.modules() if vars(module).get("gradient_checkpointing")]
    for layer in layers:
        layer.gradient_checkpointing = False
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = True
