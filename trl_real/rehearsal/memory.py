"""
Peak memory of a training beside what the dry run estimates for it.

In: a model, a cut, and how it is trained. Out: bytes, measured and estimated. The rollouts are fixed and of full
length. On a CPU the process should have been started with `GIVE_BACK` in its environment. Left out: generation.
"""

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import LoraConfig
from transformers import TrainerCallback

from ..recipe.memory import estimate_memory, model_size
from .machine import gpus
from .models import SMALL, Size, longest_rollouts
from .peak import in_use, peak, reset_peak
from .training import build_trainer


@dataclass(frozen=True)
class MemoryCase:
    """
    What is trained, and how.

    Args:
        size ([`Size`]):
            Model and lengths.
        rollouts (`int`):
            In a micro-step.
        packed (`bool`), checkpointing (`bool`), bf16 (`bool`):
            `pack_rollouts`, `gradient_checkpointing` and `bf16`.
        lora_rank (`int`, *optional*):
            Of an adapter on all linear layers. Default: all parameters are trained.
    """

    size: Size
    rollouts: int
    packed: bool = True
    checkpointing: bool = True
    bf16: bool = False
    lora_rank: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Of the configuration."""
        cut = dict(per_device_train_batch_size=self.rollouts, gradient_accumulation_steps=2, steps_per_generation=2)
        how = dict(pack_rollouts=None if self.packed else False, gradient_checkpointing=self.checkpointing)
        return cut | how | dict(bf16=self.bf16)


class SecondStep(TrainerCallback):
    """Bytes between the steps, and the peak of the second, in which the optimizer has its state."""

    lasting = top = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            gc.collect()
            self.lasting = reset_peak()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            self.top = peak()


def measure(case: MemoryCase, folder: Path) -> dict[str, int]:
    """
    Trains two optimizer steps of two micro-steps.

    Returns:
        `dict[str, int]`: bytes that stay between the steps (`lasting`: weights and optimizer), and at the `peak`.
    """
    train(replace(case, size=SMALL), folder / "before")  # what is imported and started with the first step
    gc.collect()
    start = in_use()
    seen = train(case, folder)
    return {"lasting": seen.lasting - start, "peak": seen.top - start}


def train(case: MemoryCase, folder: Path) -> SecondStep:
    """What was seen of the second step."""
    adapter = None
    if case.lora_rank:
        adapter = LoraConfig(r=case.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
    seen = SecondStep()
    others = dict(rollout_func=longest_rollouts(case.size), peft_config=adapter, callbacks=[seen])
    build_trainer(folder, case.size, others=others, **case.options).train()
    return seen


def estimate(case: MemoryCase) -> dict[str, float]:
    """Bytes by purpose, but for generation, and their sum as `peak`."""
    fields = case.options | dict(
        deepspeed=None,
        fp16=False,
        dtype="float32",
        load_in_4bit=False,
        beta=0.0,
        use_cpu=not gpus(),
        use_peft=case.lora_rank is not None,
        max_prompt_tokens=case.size.prompt,
        max_completion_length=case.size.completion,
    )
    parts = estimate_memory(model_size(case.size.config, case.lora_rank), fields, 2 * case.rollouts, 1)
    parts.pop("kv_cache")
    return parts | {"peak": sum(parts.values())}
