"""Where a run stands in its generations: at its start, and after resuming from a checkpoint."""

from typing import Any

import torch
from transformers import TrainerCallback
from trl import GRPOConfig


class ResumePosition(TrainerCallback):
    """
    Puts the trainer at the right micro-step of the epoch and the sampler at the right permutation of the data.

    TRL starts to count micro-steps at 0 after resuming, and its sampler at the first epoch's permutation. A run
    resumed between two generations, or in a later epoch, would then see other prompts than the uninterrupted one.
    """

    def __init__(self, trainer: Any):
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
    """Draw the permutations of the epochs that are done, as `RepeatSampler` would have."""
    if getattr(sampler, "shuffle", False):
        for _ in range(count):
            torch.randperm(sampler.num_samples, generator=sampler.generator)


def micro_steps_per_step(args: GRPOConfig) -> int:
    """Micro-steps that one generation gives to one optimizer step."""
    return min(args.gradient_accumulation_steps, args.steps_per_generation)
