"""
Several processes that share work without waiting for one another.

In: the variables of a launcher (`torchrun`, `accelerate launch`), or none. Out: for each process the next piece of
work that nobody has taken, so that one with long answers holds up no other, and counts of what all have done. Only
the launcher's key-value store is used: the processes exchange no tensors, and a library that would want to connect
them itself (vLLM, Transformers) finds each of them alone. Left out: the work itself.
"""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch.distributed as dist


PATIENCE = timedelta(days=30)  # the first to finish waits for the last
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# With TORCHELASTIC_USE_AGENT_STORE, a library's own `tcp://` group would wait for a store that is not its own
LAUNCHERS = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_")


class Crew:
    """
    The processes of one launch.

    Args:
        rank (`int`, *optional*, defaults to `0`):
            Number of this process.
        size (`int`, *optional*, defaults to `1`):
            Number of processes.
        local_rank (`int`, *optional*, defaults to `0`):
            Number of this process on its machine.
        store (`torch.distributed.Store`, *optional*):
            Where they meet; not needed for one process.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, store: dist.Store | None = None) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self._store = store or dist.HashStore()

    @classmethod
    def join(cls) -> "Crew":
        """Connects to the others of this launch and hides the launcher from all that comes later."""
        if "RANK" not in os.environ:
            return cls()
        local_rank = int(os.environ.get("LOCAL_RANK", 0))
        store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
        for name in [name for name in os.environ if name in LAUNCHER or name.startswith(LAUNCHERS)]:
            del os.environ[name]
        return cls(rank, size, local_rank, dist.PrefixStore("crew", store))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def count(self, name: str, number: int) -> int:
        """Adds to a number that all processes share; returns the sum so far."""
        return self._store.add(f"count/{name}", number)

    def take(self, name: str, pieces: int) -> Iterator[int]:
        """Indices of the pieces of work that this process is to do; each goes to one process."""
        while (index := self.count(f"taken/{name}", 1) - 1) < pieces:
            yield index

    def share(self, name: str, value: Any = None) -> Any:
        """What the first process has given, in every process, as soon as it has."""
        if self.is_first:
            self._store.set(f"shared/{name}", json.dumps(value))
        return json.loads(self._store.get(f"shared/{name}"))

    def arrive(self, name: str) -> None:
        """Says that this process has come to a point."""
        self._store.set(f"{name}/{self.rank}", "here")

    def wait_for(self, name: str) -> None:
        """Comes to a point, and returns when all others have."""
        self.arrive(name)
        self._store.wait([f"{name}/{rank}" for rank in range(self.size)], PATIENCE)
