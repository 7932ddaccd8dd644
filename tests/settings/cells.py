"""The table of settings: its cells, those that are enough for every pair of settings, and what is refused."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from itertools import combinations, product


COLUMNS = dict(
    backend=("one process", "DDP", "ZeRO-2", "ZeRO-3", "FSDP2"),
    parameters=("full", "LoRA"),
    # "long RoPE" is packed: rows on both sides of a position limit, which share no forward
    layout=("packed", "padded", "shared", "long RoPE"),
    checkpointing=("none", "non-reentrant", "reentrant", "TRL's default", "FSDP's own"),
    # "bf16" is `bf16=True` over a model in float32, "bf16 weights" over one in bfloat16
    precision=("float32", "bf16", "bf16 weights"),
)


@dataclass(frozen=True)
class Cell:
    """One combination of settings."""

    backend: str
    parameters: str
    layout: str
    checkpointing: str
    precision: str

    @property
    def processes(self) -> int:
        return 1 if self.backend == "one process" else 2

    @property
    def is_deepspeed(self) -> bool:
        return self.backend.startswith("ZeRO")

    @property
    def reentrant(self) -> bool | None:
        """Kind of checkpointing of the model's layers; `None` for none, or for one that is not theirs."""
        if self.checkpointing in ("none", "FSDP's own"):
            return None
        # TRL insists: "PEFT + DeepSpeed ZeRO-3 requires reentrant checkpointing"
        return self.checkpointing == "reentrant" or (self.backend == "ZeRO-3" and self.parameters == "LoRA")

    @property
    def pairs(self) -> set[tuple]:
        """The pairs of settings that meet in it."""
        return set(combinations(enumerate(astuple(self)), 2))


CELLS = [
    cell
    for cell in (Cell(*values) for values in product(*COLUMNS.values()))
    if cell.backend == "FSDP2" or cell.checkpointing != "FSDP's own"
]


def cover(cells: Iterable[Cell]) -> list[Cell]:
    """Few of the cells in which every pair meets that meets in any: each time the one with most pairs that are left."""
    cells, chosen = list(cells), []
    left = set().union(*(cell.pairs for cell in cells))
    while left:
        chosen.append(max(cells, key=lambda cell: len(cell.pairs & left)))
        left -= chosen[-1].pairs
    return chosen


def refusal(cell: Cell) -> str | None:
    """The field of REALConfig that an error must name where a cell cannot be trained; `None` where it must be."""
    return None
