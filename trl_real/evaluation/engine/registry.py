"""
What Inspect finds by the entry point `inspect_ai`: the engine `trl-real/`, and the task `trl_real/math`.

In: nothing. Out: both, under their names. Left out: what they do (`provider.py`, `tasks.py`).
"""

from inspect_ai.model import ModelAPI, modelapi

from .tasks import math


__all__ = ["math", "trl_real"]


@modelapi(name="trl-real")
def trl_real() -> type[ModelAPI]:
    """The engine, which is imported when it is asked for."""
    from .provider import TransformersAPI

    return TransformersAPI
