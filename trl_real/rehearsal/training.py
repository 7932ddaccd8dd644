"""
Short trainings on models with random weights.

In: a folder, a size, options of the configuration. Out: a trainer, in bfloat16 on a GPU and float32 on a CPU.
"""

from pathlib import Path
from typing import Any

import torch

from ..trainer import REALConfig, REALTrainer
from .machine import gpus
from .models import Size, prompts, save_model, starts_evenly


ROLLOUTS = 8  # in a micro-step, which are two groups


def precision() -> torch.dtype:
    """What forwards compute in."""
    return torch.bfloat16 if gpus() else torch.float32


def configuration(folder: Path, size: Size, **options: Any) -> REALConfig:
    """Generations of two optimizer steps, each with two groups of four rollouts in every process."""
    defaults: dict[str, Any] = dict(
        output_dir=str(folder / "run"),
        per_device_train_batch_size=ROLLOUTS,
        gradient_accumulation_steps=1,
        steps_per_generation=2,
        num_generations=4,
        max_completion_length=size.completion,
        max_steps=2,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not gpus(),
        bf16=bool(gpus()),
    )
    return REALConfig(**defaults | options)


def build_trainer(
    folder: Path, size: Size, attention: str = "sdpa", others: dict[str, Any] | None = None, **options: Any
) -> REALTrainer:
    """
    A trainer whose model lies in `folder`; it is written there where it is not yet.

    Args:
        folder (`Path`):
            Of the model and of the run.
        size ([`Size`]):
            The model and its rollouts.
        attention (`str`, *optional*, defaults to `"sdpa"`):
            Implementation.
        others (`dict`, *optional*):
            More arguments of the trainer.
        options:
            Of the configuration.
    """
    name = save_model(folder / "model", size, precision())
    loading = {"dtype": "float32", "attn_implementation": attention}
    return REALTrainer(
        model=name,
        reward_funcs=starts_evenly,
        args=configuration(folder, size, model_init_kwargs=loading, **options),
        train_dataset=prompts(64, size),
        **(others or {}),
    )
