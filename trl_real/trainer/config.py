"""REALConfig: GRPOConfig with the options of REAL, and the checks that keep groups whole."""

import math
import warnings
from dataclasses import dataclass, field, fields

from ..objective.losses import check_options
from ..validation.config import ValidationConfig
from .fields import INERT, REFUSED


KL_TARGETS = ("ref", "old")
REGULARIZE = ("all", "trained")
LABEL_RULES = ("threshold", "group_quantile")


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
        label_rule (`str`, *optional*, defaults to `"threshold"`):
            `"threshold"` (the paper's), or `"group_quantile"` for graded rewards: the best of a group are right, its
            worst are wrong, and those between have no label. What is right in evaluation is still said by
            `label_threshold`.
        label_quantile (`float`, *optional*, defaults to `0.25`):
            With `"group_quantile"`: share of a group's scored rollouts on either side, rounded down, one at least.
        label_gap (`float`, *optional*, defaults to `0.0`):
            With `"group_quantile"`: a group has labels only if its best and worst are apart by this at least, and not
            equal.
        kl_target (`str`, *optional*, defaults to `"ref"`):
            Policy of the KL term that `beta` weighs: `"ref"` (the reference model) or `"old"` (the policy that
            generated).
        regularize (`str`, *optional*, defaults to `"all"`):
            Which rollouts the KL term, the entropy bonus and the MoE balance loss act on: `"all"`, so that every
            rollout is run, or `"trained"`, those that the objective gives a gradient anyway. Either way a term is a
            mean over all rollouts of the step, so a rollout is held equally firmly.
        kl_limit (`float`, *optional*), kl_limit_coef (`float`, *optional*, defaults to `1000.0`):
            Experimental, not in the paper but in DisCO (arXiv 2505.12366): adds
            `kl_limit_coef · max(KL − kl_limit, 0)²` to the loss of a step, KL from the policy that generated to the
            one that is trained, in nats per token, a mean over the trained rollouts. DisCO takes 1e-4.
        mismatch_limit (`float`, *optional*):
            With vLLM: a rollout has no label if the geometric mean, over its tokens, of the ratio between its
            probability in training and in sampling is above this or below its inverse. Above 1, such as 1.1.
        pack_rollouts (`bool`, *optional*):
            Pack the rollouts of a forward one after another instead of padding them. Default: where the model can be
            run so without one rollout seeing another, which is tried at the start. `True` makes it an error if it
            cannot, `False` always pads.
        share_prompts (`bool`, *optional*):
            Compute a prompt once for the rollouts of it that are packed into one forward. Default: where the model can
            be run so, which is tried at the start, and a forward has 10% fewer tokens at least. `True` makes it an
            error if it cannot and shares whatever there is to share, `False` never shares.
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
    label_rule: str = field(
        default="threshold",
        metadata={
            "help": "How rewards become labels: 'threshold' (the paper's) or 'group_quantile' (the best of a group "
            "are right, its worst are wrong, those between have no label)."
        },
    )
    label_quantile: float = field(
        default=0.25, metadata={"help": "Share of a group on either side with label_rule='group_quantile'."}
    )
    label_gap: float = field(
        default=0.0,
        metadata={"help": "Least distance of best and worst rewards of a group with label_rule='group_quantile'."},
    )
    kl_target: str = field(
        default="ref",
        metadata={
            "help": "Policy of the KL term weighed by beta: 'ref' (reference model) or 'old' (the one that generated)."
        },
    )
    regularize: str = field(
        default="all",
        metadata={
            "help": "Rollouts that KL term, entropy bonus and MoE balance loss act on: 'all', or 'trained' (those "
            "with a gradient from the objective, so that no others are run)."
        },
    )
    kl_limit: float | None = field(
        default=None,
        metadata={
            "help": "Experimental, not in the paper: penalty on the KL from the policy that generated beyond this "
            "(nats per token). DisCO takes 1e-4."
        },
    )
    kl_limit_coef: float = field(default=1000.0, metadata={"help": "Weight of the squared excess over kl_limit."})
    mismatch_limit: float | None = field(
        default=None,
        metadata={
            "help": "With vLLM: a rollout has no label if the geometric mean of its tokens' ratios of probability in "
            "training to that in sampling is above this or below its inverse. Above 1, such as 1.1."
        },
    )
    pack_rollouts: bool | None = field(
        default=None,
        metadata={
            "help": "Pack rollouts one after another instead of padding them. Default: where the model can be run so; "
            "true makes it an error if it cannot, false always pads."
        },
    )
    share_prompts: bool | None = field(
        default=None,
        metadata={
            "help": "Compute a prompt once for its rollouts in a packed forward. Default: where the model can be run "
            "so and that saves a tenth of the tokens; true makes it an error if it cannot, false never does."
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
        metadata={"help": "Refused: it multiplies a per-token loss, which REAL does not have. See mismatch_limit."},
    )

    def __post_init__(self):
        self._check_options()
        self._check_fields()
        super().__post_init__()
        self._check_cut()

    def _check_options(self) -> None:
        check_options(self.tau, self.loss_type, self.degenerate_groups, self.score_clip)
        if self.num_generations is None or self.num_generations < 2:
            raise ValueError(
                f"`num_generations` must be 2 or more, got {self.num_generations!r}: REAL sets right rollouts of a "
                "prompt against wrong ones of the same prompt. Write num_generations=8, as in the paper."
            )
        if self.kl_target not in KL_TARGETS:
            raise ValueError(f"`kl_target` must be one of 'ref', 'old', got {self.kl_target!r}.")
        if self.regularize not in REGULARIZE:
            raise ValueError(f"`regularize` must be one of 'all', 'trained', got {self.regularize!r}.")
        for name in ("kl_limit", "kl_limit_coef"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"`{name}` must be a finite number of at least 0, got {value!r}.")
        if self.mismatch_limit is not None and not (math.isfinite(self.mismatch_limit) and self.mismatch_limit > 1):
            raise ValueError(f"`mismatch_limit` must be a finite number above 1, got {self.mismatch_limit!r}.")
        if self.label_threshold is not None and not math.isfinite(self.label_threshold):
            raise ValueError(f"`label_threshold` must be a finite number, got {self.label_threshold!r}.")
        if self.kl_target == "old" and self.beta == 0.0:
            warnings.warn("`kl_target='old'` has no effect while `beta` is 0.", stacklevel=4)
        self._check_label_rule()
        if self.kl_limit is None and self.kl_limit_coef != REALConfig.kl_limit_coef:
            warnings.warn("`kl_limit_coef` has no effect without `kl_limit`.", stacklevel=4)
        if self.kl_target == "old" and self.sync_ref_model:
            raise ValueError(
                "`sync_ref_model` needs a reference model: set `kl_target='ref'`, or `sync_ref_model=False`."
            )

    def _check_label_rule(self) -> None:
        if self.label_rule not in LABEL_RULES:
            raise ValueError(f"`label_rule` must be one of 'threshold', 'group_quantile', got {self.label_rule!r}.")
        if not 0 < self.label_quantile <= 0.5:
            raise ValueError(f"`label_quantile` must be above 0 and at most 0.5, got {self.label_quantile!r}.")
        if not (math.isfinite(self.label_gap) and self.label_gap >= 0):
            raise ValueError(f"`label_gap` must be a finite number of at least 0, got {self.label_gap!r}.")
        changed = (self.label_quantile, self.label_gap) != (REALConfig.label_quantile, REALConfig.label_gap)
        if self.label_rule == "threshold" and changed:
            warnings.warn(
                "`label_quantile` and `label_gap` have no effect with `label_rule='threshold'`. Write "
                "label_rule='group_quantile' for labels from graded rewards.",
                stacklevel=5,
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
        if self.kl_limit is not None and self.num_iterations > 1 and accumulation > per_generation:
            raise ValueError(
                "`kl_limit`: an optimizer step of several generations that are used more than once would be on policy "
                "in one part and off policy in another. Write num_iterations=1, or "
                f"steps_per_generation={accumulation}."
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
