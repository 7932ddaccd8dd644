"""Reward functions that hang, crash, raise and miscount; by name, as processes import them. Imports nothing heavy."""

import asyncio
import os
import subprocess
import time
from pathlib import Path


def length(completions, bonus, **kwargs):
    """The length of the completion, plus a column."""
    return [len(completion) + more for completion, more in zip(completions, bonus, strict=True)]


async def later(completions, **columns):
    """Asynchronous; says which columns came."""
    await asyncio.sleep(0)
    return [float(sorted(columns) == ["bonus", "prompts"])] * len(completions)


def moody(completions):
    """Does what the completion says."""
    [text] = completions
    if text == "sleep":
        time.sleep(1000)
    if text == "loop":
        while True:
            pass
    if text.startswith("child "):
        with subprocess.Popen(["sleep", "1000"]) as child:
            Path(text.removeprefix("child ")).write_text(str(child.pid))
    if text == "crash":
        os.abort()
    if text == "exit":
        raise SystemExit
    if text == "raise":
        raise KeyError(text)
    return [None if text == "none" else 1.0]


def miscounts(completions, **kwargs):
    return [1.0, 0.0]


def says_yes(completions, **kwargs):
    return ["yes"]


def raises(completions, **kwargs):
    raise RuntimeError("no compiler")


def needs_state(completions, trainer_state):
    """What another process does not have."""
    return [0.0]
