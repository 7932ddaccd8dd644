"""What REAL makes of a model or an adapter: trained under two cuts, packed or padded, or refused."""

from dataclasses import dataclass
from typing import Any

from tests.support.cuts import ROWS, parameters, trainer_for
from trl_real import REALTrainer


# A window, or another limit, of which the longest rollout (18 tokens) has several
MODEL = dict(steps=2, max_steps=2, options=dict(max_completion_length=20))


@dataclass(frozen=True)
class Trial:
    """What came of it."""

    forwards: str  # "packed", "padded: <reason>" or "refused: <reason>", as the documentation has it
    moved: float = 0.0  # largest change of a parameter in training,
    difference: float = 0.0  # and its largest difference between the two batchings


def forwards_of(trainer: REALTrainer) -> str:
    """`"packed"`, or `"padded: <reason>"`, as the trainer found out."""
    return "packed" if trainer._phase.choice.packs else f"padded: {trainer._phase.choice.why_padded}"


def tried(cut: dict[str, Any]) -> Trial:
    """Train with 16 and with 4 rollouts in a batch."""
    trained = []
    for batch in (ROWS, 4):
        trainer = trainer_for(cut | dict(batch=batch))
        start = parameters(trainer)
        trainer.train()
        trained.append(parameters(trainer))
    wide, narrow = trained
    return Trial(
        forwards=forwards_of(trainer),
        moved=max((wide[name] - start[name]).abs().max().item() for name in start),
        difference=max((wide[name] - narrow[name]).abs().max().item() for name in start),
    )
