"""REALConfig: GRPOConfig with the options of REAL, and the checks that keep groups whole."""

import math
import warnings
from dataclasses import dataclass, field, fields

from ..objective.losses import check_options
from ..validation.config import ValidationConfig
from .fields import INERT, REFUSED


KL_TARGETS = ("ref", "old")


@dataclass
class REALConfig(ValidationConfig):
    r"""
    Configuration of [`REALTrainer`]. All fields of [`~trl.GRPOConfig`] keep their meaning, give a warning where
    REAL has no use for them, or are refused with the reason: see `docs/config.md`.

    Parameters:
        tau (`float`, *optional*, defaults to `0.5`):
            Temperature τ of the classification loss (0.5 in the paper, Section 5.1; 0.1 collapses, Section 5.3).
            Gradient weights are bounded by 1/τ.
        loss_type (`str`, *optional*, defaults to `"real"`):
            `"real"` (Eq. 8, anchored softmax), `"real_no_anchor"` (Eq. 2) or `"bce"` (Eq. 11 as a mean over the
            group).
        degenerate_groups (`str`, *optional*, defaults to `"drop"`):
            What to do with groups that are all right or all wrong: `"drop"` (no gradient, counted in the mean, as in
            the authors' code) or `"keep"` (Eq. 8 as printed).
        score_clip (`float`, *optional*):
            Experimental, not in the paper: no gradient for a right rollout whose score is above this, nor for a wrong
            one whose score is below minus this. Scores are nats per token, so the value depends on the task.
        label_threshold (`float`, *optional*):
            A rollout is right when its reward exceeds this. Defaults to 0.5 with one reward function or with
            `label_reward_func`; with several functions it is compared with their weighted sum and has no default.
        label_reward_func (`str`, *optional*):
            Name of the one reward function that decides whether a rollout is right.
        kl_target (`str`, *optional*, defaults to `"ref"`):
            Policy of the KL term that `beta` weighs: `"ref"` (the reference model) or `"old"` (the policy that
            generated).
        pack_rollouts (`bool`, *optional*):
            Pack the rollouts of a forward one after another instead of padding them. Default: where the model can be
            run so without one rollout seeing another, which is tried at the start. `True` makes it an error if it
            cannot, `False` always pads.
        eval_temperature, eval_top_p (`float`, *optional*):
            Sampling in evaluation. As in training by default.

    Raises:
        `ValueError`: If a field is outside its allowed values, is refused, or cuts groups apart; the message names the
        field and what to write instead.
    """

    tau: float = field(
        default=0.5,
        metadata={
            "help": "Temperature of the classification loss (0.5 in the paper). Gradient weights are bounded by 1/tau."
        },
    )
    loss_type: str = field(
        default="real",
        metadata={"help": "Objective: 'real' (anchored softmax, Eq. 8), 'real_no_anchor' (Eq. 2) or 'bce' (Eq. 11)."},
    )
    degenerate_groups: str = field(
        default="drop",
        metadata={
            "help": "Groups that are all right or all wrong: 'drop' (no gradient) or 'keep' (Eq. 8 as printed)."
        },
    )
    score_clip: float | None = field(
        default=None,
        metadata={
            "help": "Experimental, not in the paper: no gradient for a right rollout whose score is above this, nor "
            "for a wrong one whose score is below minus this (nats per token)."
        },
    )
    label_threshold: float | None = field(
        default=None,
        metadata={
            "help": "A rollout is right when its reward exceeds this. 0.5 by default; with several reward functions "
            "it is compared with their weighted sum and must be given, unless label_reward_func is."
        },
    )
    label_reward_func: str | None = field(
        default=None, metadata={"help": "Name of the one reward function that decides whether a rollout is right."}
    )
    kl_target: str = field(
        default="ref",
        metadata={
            "help": "Policy of the KL term weighed by beta: 'ref' (reference model) or 'old' (the one that generated)."
        },
    )
    pack_rollouts: bool | None = field(
        default=None,
        metadata={
            "help": "Pack rollouts one after another instead of padding them. Default: where the model can be run so; "
            "true makes it an error if it cannot, false always pads."
        },
    )
    disable_dropout: bool = field(
        default=True,
        metadata={
            "help": "Turn dropout off in the model. A score compares two forwards, and dropout would add noise to it."
        },
    )
    vllm_importance_sampling_correction: bool = field(
        default=False,
        metadata={"help": "Refused: it multiplies a per-token loss, which REAL does not have."},
    )

    def __post_init__(self):
        self._check_options()
        self._check_fields()
        super().__post_init__()
        self._check_cut()

    def _check_options(self) -> None:
        check_options(self.tau, self.loss_type, self.degenerate_groups, self.score_clip)
        if self.kl_target not in KL_TARGETS:
            raise ValueError(f"`kl_target` must be one of 'ref', 'old', got {self.kl_target!r}.")
        if self.label_threshold is not None and not math.isfinite(self.label_threshold):
            raise ValueError(f"`label_threshold` must be a finite number, got {self.label_threshold!r}.")
        if self.kl_target == "old" and self.beta == 0.0:
            warnings.warn("`kl_target='old'` has no effect while `beta` is 0.", stacklevel=4)
        if self.kl_target == "old" and self.sync_ref_model:
            raise ValueError(
                "`sync_ref_model` needs a reference model: set `kl_target='ref'`, or `sync_ref_model=False`."
            )

    def _check_fields(self) -> None:
        """Refuse what would change the meaning of REAL; warn about what has none in it."""
        defaults = {item.name: item.default for item in fields(type(self))}
        # TRL and Transformers drop fields from time to time, and nobody can set one that is gone
        for name, refusal in REFUSED.items():
            if name in defaults and refusal.refused(getattr(self, name)):
                raise ValueError(
                    f"REAL does not support `{name}={getattr(self, name)!r}`. {refusal.reason} "
                    f"Write {refusal.instead}."
                )
        # TRL's __post_init__ turns booleans into names, so both spellings of the default are the default
        same = {"scale_rewards": ("group", True)}
        for name, reason in INERT.items():
            if name in defaults and getattr(self, name) not in same.get(name, (defaults[name],)):
                warnings.warn(f"`{name}` has no effect in REAL. {reason}", stacklevel=4)

    def _check_cut(self) -> None:
        """Refuse batch sizes that tear groups apart; groups must be whole in every optimizer step."""
        accumulation, per_generation = self.gradient_accumulation_steps, self.steps_per_generation
        if accumulation % per_generation and per_generation % accumulation:
            lower = per_generation // accumulation * accumulation or accumulation
            raise ValueError(
                f"`steps_per_generation` ({per_generation}) must be a multiple or a divisor of "
                f"`gradient_accumulation_steps` ({accumulation}), so that every optimizer step has whole generations "
                f"or whole parts of one. Write, for example, steps_per_generation={lower} or "
                f"steps_per_generation={lower + accumulation}."
            )
        if self.accelerator_config.split_batches:
            raise ValueError(
                "`accelerator_config`: with split_batches=True the processes share what one of them should have, so a "
                "generation would lose rollouts. Leave it out."
            )
        if self.accelerator_config.dispatch_batches:
            raise ValueError(
                "`accelerator_config`: with dispatch_batches=True the main process would have to cut rows of text, "
                "which Accelerate cannot. Leave it out: every process reads its own rows."
            )
        micro_steps = min(accumulation, per_generation)
        rows_per_micro_step = self.per_device_train_batch_size * self.world_size
        if rows_per_micro_step * micro_steps % self.num_generations:
            unit = self.num_generations // math.gcd(self.num_generations, rows_per_micro_step)
            scale = -(-micro_steps // unit) * unit / micro_steps
            raise ValueError(
                f"An optimizer step would have {rows_per_micro_step * micro_steps} rollouts "
                f"(per_device_train_batch_size={self.per_device_train_batch_size} × {self.world_size} processes × "
                f"{micro_steps} micro-steps), not a multiple of num_generations={self.num_generations}: groups would "
                f"be torn apart. Write, for example, gradient_accumulation_steps={accumulation * scale:g} with "
                f"steps_per_generation={per_generation * scale:g}."
            )
