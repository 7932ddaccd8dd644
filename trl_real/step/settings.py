"""The settings of the update phase."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Regularizers:
    """Terms added to the objective; the weight of the entropy bonus, which may change, comes with each step."""

    beta: float = 0.0  # weight of the KL term
    kl_target: str = "ref"  # "ref" (reference model) or "old" (policy that generated)
    bias_correction: bool = False  # multiplies the KL of a token by its importance ratio (`use_bias_correction_kl`)
    balance_coef: float = 0.0  # weight of the MoE balance loss

    @property
    def reads_reference(self) -> bool:
        """Whether log-probabilities under the reference are needed."""
        return self.beta != 0.0 and self.kl_target == "ref"


@dataclass(frozen=True)
class StepSettings:
    """The settings of the update phase."""

    num_generations: int  # G, rollouts per prompt
    rows_per_process: int  # rollouts of the longest kind that a process holds in one micro-step
    steps_per_generation: int = 1  # optimizer steps
    micro_steps: int = 1  # that a generation gives to each of them
    num_iterations: int = 1  # how often a generation is used
    pad_token_id: int = 0
    pad_to_multiple_of: int | None = None
    max_completion_length: int = 1  # most tokens of a completion
    pack_rollouts: bool | None = None  # as in REALConfig
    share_prompts: bool | None = None  # as in REALConfig
    compiled: bool = False  # the model is compiled
    dropout: bool = False  # dropout is on
    regularizers: Regularizers = field(default_factory=Regularizers)
    trains_every_rollout: bool = False  # the added terms give every rollout a gradient
    mismatch_limit: float | None = None  # as in REALConfig
    compares_sampler: bool = False  # the sampler's log-probabilities are compared with the trainer's
