"""
What a worker does with a pair: judge an answer, or call a user's reward function on one completion.

For a reward function, the pair is the pickled arguments as text, and the verdict is JSON: `{"reward": 1.0}`,
`{"error": "..."}`, or `{"returned": "..."}` for a value that is not a reward.
"""

import asyncio
import base64
import importlib
import inspect
import json
import math
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any


Pair = tuple[tuple[str, ...], str | None]  # accepted answers, and the answer to judge

FIRST_SLICE = 0.3  # seconds; a typical answer takes a thousandth
SHOWN = 300  # characters of an error or a wrong value


@dataclass(frozen=True)
class Task:
    """What workers do, and the clock that limits it; each pair gets `first_slice` seconds at first."""

    judge: Callable[[tuple[str, ...], str | None], str]
    timer: int = signal.ITIMER_PROF  # processor time, so that a busy machine kills no answer
    first_slice: float = FIRST_SLICE


def load_task(words: list[str]) -> Task:
    """The verifier's task without words; else that of a function, `"module:name"` and the search path as JSON."""
    if not words:
        from .grading import judge, warm_up

        warm_up()
        return Task(judge)
    name, folders = words
    sys.path[:] = json.loads(folders)
    if name.startswith("trl_real.verifier.gym:"):
        import reasoning_gym  # noqa: F401  once, before workers are forked
    return Task(partial(call, import_function(name)), signal.ITIMER_REAL, math.inf)


def import_function(name: str) -> Callable[..., Any]:
    """The function with this `"module:name"`; `ImportError` or `AttributeError` if there is none."""
    module, _, path = name.partition(":")
    return reduce(getattr, path.split("."), importlib.import_module(module))


def encode(given: dict[str, Any]) -> Pair:
    """The arguments of a call as a pair."""
    return (base64.b85encode(pickle.dumps(given)).decode("ascii"),), None


def call(function: Callable[..., Any], arguments: tuple[str, ...], _: str | None) -> str:
    """Calls a reward function on one completion."""
    try:
        returned = result_of(function(**pickle.loads(base64.b85decode(arguments[0]))))
        rewards = [returned] if isinstance(returned, str) else list(returned)
    except Exception as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"[:SHOWN]})
    if len(rewards) == 1 and (rewards[0] is None or hasattr(rewards[0], "__float__")):
        return json.dumps({"reward": None if rewards[0] is None else float(rewards[0])})
    return json.dumps({"returned": repr(returned)[:SHOWN]})


def result_of(returned: Any) -> Any:
    """What a function returned, or the result of the coroutine that it returned."""

    async def awaited() -> Any:
        return await returned

    return asyncio.run(awaited()) if inspect.isawaitable(returned) else returned
