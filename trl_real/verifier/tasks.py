"""
What a worker does with a pair: the verifier's own judging, or a reward function of the user's on one completion.

In: the words with which the server was started. Out: a function from a pair to a verdict, and the clock that bounds
it. Of a user's function the pair holds the pickled arguments as text, and the verdict is JSON: `{"reward": 1.0}`,
`{"error": "..."}` or `{"returned": "..."}` for what is no reward. Left out: who runs it (`workers`), and what a reward
function gets (`trl_real.rewards.pooled`).
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


Pair = tuple[tuple[str, ...], str | None]

FIRST_SLICE = 0.3  # seconds; a typical answer takes a thousandth
SHOWN = 300  # characters of an error or of a value that is no reward


@dataclass(frozen=True)
class Task:
    """
    What workers do.

    Args:
        judge (`Callable`):
            From a pair to a verdict.
        timer (`int`, *optional*, defaults to `signal.ITIMER_PROF`):
            The clock: processor time, since on a busy machine an honest answer takes longer, but not more; or
            `signal.ITIMER_REAL`, for a function that waits for something else.
        first_slice (`float`, *optional*, defaults to `0.3`):
            Seconds that a pair gets at first; more only when all have had theirs.
    """

    judge: Callable[[tuple[str, ...], str | None], str]
    timer: int = signal.ITIMER_PROF
    first_slice: float = FIRST_SLICE


def load_task(words: list[str]) -> Task:
    """
    The task of a server.

    Args:
        words (`list[str]`):
            None, for the verifier; else `"module:name"` of a reward function, and as JSON the folders to look in.
    """
    if not words:
        from .grading import judge, warm_up

        warm_up()
        return Task(judge)
    name, folders = words
    sys.path[:] = json.loads(folders)
    return Task(partial(call, find(name)), signal.ITIMER_REAL, math.inf)


def find(name: str) -> Callable[..., Any]:
    """The function with this `"module:name"`; `ImportError` or `AttributeError` if there is none."""
    module, _, path = name.partition(":")
    return reduce(getattr, path.split("."), importlib.import_module(module))


def encode(given: dict[str, Any]) -> Pair:
    """The arguments of a call as a pair."""
    return (base64.b85encode(pickle.dumps(given)).decode("ascii"),), None


def call(function: Callable[..., Any], arguments: tuple[str, ...], _: None) -> str:
    """Calls a reward function on one completion."""
    try:
        returned = finished(function(**pickle.loads(base64.b85decode(arguments[0]))))
        rewards = [returned] if isinstance(returned, str) else list(returned)
    except Exception as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"[:SHOWN]})
    if len(rewards) == 1 and (rewards[0] is None or hasattr(rewards[0], "__float__")):
        return json.dumps({"reward": None if rewards[0] is None else float(rewards[0])})
    return json.dumps({"returned": repr(returned)[:SHOWN]})


def finished(returned: Any) -> Any:
    """What a function returned, or what its coroutine returns in the end."""

    async def awaited() -> Any:
        return await returned

    return asyncio.run(awaited()) if inspect.isawaitable(returned) else returned
