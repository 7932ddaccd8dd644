"""The methods of recipes: REAL, or a baseline on TRL's own trainer with the same validation."""

from collections.abc import Iterable
from typing import Any

from ..objective.losses import LOSS_TYPES
from ..trainer.config import REALConfig
from ..trainer.fields import INERT
from ..trainer.trainer import REALTrainer
from ..validation.config import ValidationConfig
from ..validation.trainer import ValidatingTrainer


METHODS: dict[str, tuple[type[ValidatingTrainer], type[ValidationConfig]]] = {
    "real": (REALTrainer, REALConfig),
    "grpo": (ValidatingTrainer, ValidationConfig),  # also DAPO, GSPO and whatever else TRL's `loss_type` has
}


def check_method(method: str, options: dict[str, Any], given: Iterable[str]) -> None:
    """Raises `ValueError` if a field, or one of the `given` names, has a meaning only in the other method."""
    is_real = options["loss_type"] in LOSS_TYPES or ":" in options["loss_type"]  # or a function's import path
    if method == "grpo" and is_real:
        raise ValueError(f"loss_type: {options['loss_type']} is a loss of REAL; set method: real.")
    if method == "real" and not is_real:
        raise ValueError(
            f"loss_type: {options['loss_type']} is not a loss of REAL ({', '.join(LOSS_TYPES)}, or "
            "package.module:function). Omit it, or set method: grpo."
        )
    foreign = sorted(set(given).intersection(INERT)) if method == "real" else []
    if foreign:
        raise ValueError(f"{foreign[0]}: has no effect in REAL. {INERT[foreign[0]]} Omit it, or set method: grpo.")
