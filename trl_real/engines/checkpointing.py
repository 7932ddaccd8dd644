"""
Forwards without a gradient run without gradient checkpointing.

TRL has a context for that, but it lets Transformers enable checkpointing again at every exit; each time the embedding
gets another forward hook, which is never removed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def without_checkpointing(model: nn.Module) -> Iterator[None]:
    """Until the end of the block no layer recomputes, and TRL finds nothing to turn off and on again."""
    # Not by `getattr`, which a PEFT wrapper passes on to the layer inside
    layers: list[Any] = [module for module in model.modules() if vars(module).get("gradient_checkpointing")]
    for layer in layers:
        layer.gradient_checkpointing = False
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = True
