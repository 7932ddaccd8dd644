"""A process that kills itself at an event, without a word and without cleaning up."""

import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft.peft_model
import safetensors.torch
import torch
import transformers.modeling_utils


# What changes files and is reported by Python itself
IN_FOLDER = {"os.remove", "os.rmdir"}
CHANGES = {"os.rename"} | IN_FOLDER


Moment = tuple[str, int | str]


class Doom:
    """
    Counts events, and ends the process at a moment: a kind of event, and its number from 1 or how its name begins.

    Changes of files in `root` are events while something is saved.
    """

    def __init__(self, moment: Moment | None, root: Path):
        self.last_kind, self.last = moment or (None, 0)
        self.root = str(root)
        self.kind: str | None = None  # of the events now
        self.events: dict[str, list[str]] = defaultdict(list)  # what happened, by kind
        sys.addaudithook(self._audit)
        torch.save = self._cut_short(torch.save)
        save_file = self._cut_short(safetensors.torch.save_file)
        for module in (transformers.modeling_utils, peft.peft_model):
            module.safe_save_file = save_file

    @contextmanager
    def during(self, kind: str) -> Iterator[None]:
        before, self.kind = self.kind, kind
        try:
            yield
        finally:
            self.kind = before

    def event(self, what: str) -> None:
        if self.comes(what):
            os.kill(os.getpid(), signal.SIGKILL)

    def comes(self, what: str) -> bool:
        """Counts an event; whether it is the last one."""
        self.events[self.kind].append(what)
        here = what.startswith(self.last) if isinstance(self.last, str) else len(self.events[self.kind]) == self.last
        return self.kind == self.last_kind and here

    def _saves(self) -> bool:
        return self.kind in ("save", "final save")

    def _audit(self, name: str, arguments: tuple) -> None:
        if not self._saves() or not (name in CHANGES or name == "open" and "w" in str(arguments[1])):
            return
        path = str(arguments[0])
        if name in IN_FOLDER and arguments[-1] != -1:  # a name in a folder that is being removed
            self.event(f"{name} {path}")
        elif path.startswith(self.root):
            self.event(f"{name} {os.path.relpath(path, self.root)}")

    def _cut_short(self, save: Callable) -> Callable:
        """A function that writes a file; if its end comes, half of the file is there."""

        def saved(what: Any, path: Any, *arguments: Any, **keywords: Any) -> Any:
            is_path = isinstance(path, (str, Path))
            last = self._saves() and is_path and self.comes(f"half of {os.path.relpath(path, self.root)}")
            result = save(what, path, *arguments, **keywords)
            if last:
                os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return saved
