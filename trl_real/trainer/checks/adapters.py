"""Adapters whose gradient would depend on the batch cut, or that TRL's own forward cannot run.

In: PEFT configurations. Out: an error before anything is loaded. Left out: adapters that are run, but not on packed
rows (`step/attention.py`).
"""

from collections.abc import Iterable
from typing import Any

from peft import PeftType


TASK_IDS = "it needs `task_ids`, which TRL does not pass"
OTHER_OUTPUT = "it replaces the output of the model, which TRL's language model head then lacks"
# By name, since an older PEFT does not have them all
REFUSED = {
    "MULTITASK_PROMPT_TUNING": TASK_IDS,
    "POLY": TASK_IDS,
    "CPT": OTHER_OUTPUT,
    "SHADOW": OTHER_OUTPUT,
    "ADAPTION_PROMPT": OTHER_OUTPUT,
    "LILY": "it weighs its experts by all tokens of a batch, so that rows and their padding change each other",
    "PVERA": "it draws random numbers in every forward, and a score compares two forwards of the same rollout",
    "XLORA": "it weighs its adapters by the whole row, so that a token's probability depends on those after it",
}


def check_adapters(model: Any, peft_config: Any) -> None:
    """
    Refuses adapters that REAL cannot train.

    Args:
        model (`str` or [`~transformers.PreTrainedModel`]):
            Its own adapters are checked too, if it has any.
        peft_config ([`~peft.PeftConfig`], *optional*):
            Adapter to be added.

    Raises:
        `ValueError`: Names the kind of adapter, why it cannot be trained, and what to write instead.
    """
    loaded: Iterable[Any] = getattr(model, "peft_config", {}).values()
    for config in [peft_config, *loaded]:
        kind = PeftType(config.peft_type).value if config is not None else None
        if reason := REFUSED.get(kind):
            raise ValueError(
                f"`peft_config`: REAL cannot train {type(config).__name__} ({kind}): {reason}. Write LoraConfig(...), "
                "or take another adapter of those that were tried, in docs/models.md."
            )
