"""Finds the position in the data and in a generation when a run resumes from a checkpoint."""

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback


if TYPE_CHECKING:
    from .trainer import REALTrainer


class ResumePosition(TrainerCallback):
    """
    Puts the trainer at the right micro-step of the epoch and the sampler at the right permutation of the data.

    After resuming, TRL counts micro-steps from 0 and its sampler starts with the first epoch's permutation. A run
    resumed between two generations, or in a later epoch, would then train on other prompts than an uninterrupted one.
    """

    def __init__(self, trainer: "REALTrainer"):
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        """Called by Transformers once the state of a checkpoint is loaded."""
        accumulation = args.gradient_accumulation_steps
        try:
            steps_per_epoch = max(-(-len(train_dataloader) // accumulation), 1)
        except TypeError:  # a stream without a length is one epoch
            steps_per_epoch = args.max_steps
        epochs, steps = divmod(state.global_step, steps_per_epoch)
        self.trainer.start_at(0 if args.ignore_data_skip else steps * accumulation, epochs)


def skip_permutations(sampler: Any, count: int) -> None:
    """Draws the permutations of the completed epochs, as `RepeatSampler` would have."""
    if getattr(sampler, "shuffle", False):
        for _ in range(count):
            torch.randperm(sampler.num_samples, generator=sampler.generator)
