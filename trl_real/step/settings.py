"""What a run decides about its optimizer steps."""

from dataclasses import dataclass, field

from .regularizers import Regularizers


@dataclass(frozen=True)
class StepSettings:
    """
    The settings of the update phase.

    Args:
        num_generations (`int`):
            G, rollouts per prompt.
        rows_per_process (`int`):
            Rollouts of the longest kind that a process holds in one micro-step.
        steps_per_generation (`int`, *optional*, defaults to `1`):
            Optimizer steps that share a generation.
        micro_steps (`int`, *optional*, defaults to `1`):
            Micro-steps that a generation gives to each of them.
        num_iterations (`int`, *optional*, defaults to `1`):
            How often a generation is used.
        pad_token_id (`int`, *optional*, defaults to `0`), pad_to_multiple_of (`int`, *optional*):
            Padding.
        max_completion_length (`int`, *optional*, defaults to `1`):
            Tokens of the longest completion that may come.
        pack_rollouts, share_prompts (`bool`, *optional*):
            As in [`REALConfig`].
        compiled (`bool`, *optional*, defaults to `False`):
            Whether the model is compiled.
        dropout (`bool`, *optional*, defaults to `False`):
            Whether dropout is left on.
        regularizers ([`Regularizers`], *optional*):
            What is added to the objective.
        trains_every_rollout (`bool`, *optional*, defaults to `False`):
            Whether what is added gives every rollout a gradient.
        mismatch_limit (`float`, *optional*):
            As in [`REALConfig`].
        compares_sampler (`bool`, *optional*, defaults to `False`):
            Whether the sampler's log-probabilities are compared with the trainer's.
    """

    num_generations: int
    rows_per_process: int
    steps_per_generation: int = 1
    micro_steps: int = 1
    num_iterations: int = 1
    pad_token_id: int = 0
    pad_to_multiple_of: int | None = None
    max_completion_length: int = 1
    pack_rollouts: bool | None = None
    share_prompts: bool | None = None
    compiled: bool = False
    dropout: bool = False
    regularizers: Regularizers = field(default_factory=Regularizers)
    trains_every_rollout: bool = False
    mismatch_limit: float | None = None
    compares_sampler: bool = False
