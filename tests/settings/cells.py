"""The table of settings: all cells, and those that `make test` takes."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from itertools import combinations, product


COLUMNS = dict(
    backend=("one process", "DDP", "ZeRO-2", "ZeRO-3", "FSDP2"),
    parameters=("full", "LoRA"),
    # "long RoPE" is packed, with rows on both sides of a position limit, which share no forward
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
    def is_exact(self) -> bool:
        return self.precision == "float32"

    @property
    def reentrant(self) -> bool | None:
        """The `use_reentrant` of the model's layers; `None` without checkpointing, and where FSDP does it."""
        if self.checkpointing in ("none", "FSDP's own"):
            return None
        # TRL insists, whatever is written
        return self.checkpointing == "reentrant" or (self.backend == "ZeRO-3" and self.parameters == "LoRA")

    @property
    def pairs(self) -> set[tuple]:
        return set(combinations(enumerate(astuple(self)), 2))


def cover(cells: Iterable[Cell], first: Iterable[Cell] = ()) -> list[Cell]:
    """The first cells, and few others until every pair of settings has met."""
    cells, chosen = list(cells), list(first)
    left = set().union(*(cell.pairs for cell in cells)).difference(*(cell.pairs for cell in chosen))
    while left:
        chosen.append(max(cells, key=lambda cell: len(cell.pairs & left)))
        left -= chosen[-1].pairs
    return chosen


CELLS = [
    cell
    for cell in (Cell(*values) for values in product(*COLUMNS.values()))
    if cell.backend == "FSDP2" or cell.checkpointing != "FSDP's own"
]
# One for each reason for which cells were incorrect, crashed or were refused; most reasons take three settings at once
ONCE_INCORRECT = [
    Cell("DDP", "full", "padded", "reentrant", "bf16"),
    Cell("DDP", "LoRA", "packed", "reentrant", "float32"),
    Cell("ZeRO-2", "LoRA", "padded", "reentrant", "bf16 weights"),
    Cell("ZeRO-3", "LoRA", "padded", "TRL's default", "bf16"),
    Cell("FSDP2", "full", "shared", "non-reentrant", "bf16"),
    Cell("FSDP2", "LoRA", "padded", "none", "bf16 weights"),
]
# Reentrant checkpointing hands over a gradient per forward: each must count, where DDP and DeepSpeed take one
REENTRANT = [
    Cell(backend, parameters, layout, "reentrant", "float32")
    for backend, parameters, layout in product(
        ("DDP", "ZeRO-1", "ZeRO-2", "ZeRO-3"), COLUMNS["parameters"], ("padded", "long RoPE")
    )
]
COVER = cover(CELLS, ONCE_INCORRECT + REENTRANT)
