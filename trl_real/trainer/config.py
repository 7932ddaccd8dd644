"""REALConfig: GRPOConfig with the options of REAL, and the checks that keep groups complete.

An option is written once, here: name, type, default, help, when to set it, allowed values. The docstring, `--help`,
docs/config.md and the checks come from there.
"""

import warnings
from dataclasses import dataclass, field, fields
from typing import Any

from ..objective import LOSS_TYPES, check_group_loss, check_label_func, check_options, load_function, name_of
from ..options import check_values, document, number, one_of, option
from ..validation.batches import wrong_batches
from ..validation.config import ValidationConfig
from .fields import INERT, REFUSED


@document
@dataclass
class REALConfig(ValidationConfig):
    r"""
    Configuration of [`REALTrainer`]. All fields of [`~trl.GRPOConfig`] keep their meaning, give a warning where
    REAL has no use for them, or are refused with the reason: see `docs/config.md`.

    Raises:
        `ValueError`: If a field is outside its allowed values, is refused, or splits groups between optimizer steps;
        the message names the field and what to write instead.
    """

    tau: float = option(
        0.5,
        "Temperature τ of the classification loss (Section 5.1). Gradient weights are bounded by 1/τ.",
        "hardly ever. 0.1 collapsed in the paper (Section 5.3); on a small task it made no difference.",
    )
    loss_type: str = option(
        "real",
        "'real' (anchored softmax, Eq. 8), 'real_no_anchor' (Eq. 2), 'bce' (Eq. 11 as a mean over the group), or your "
        "own: a function, or 'package.module:function'.",
        "to repeat the paper's ablations, or to train an objective of your own (docs/guides/own-objective.md).",
    )
    degenerate_groups: str = option(
        "drop",
        "Groups of correct or of incorrect rollouts only: 'drop' (no gradient, but counted in the mean, as in the "
        "authors' code) or 'keep' (Eq. 8 as printed).",
        "to repeat Eq. 8 as printed: 'keep' pushes all-correct groups further up, and has to run them.",
    )
    score_clip: float | None = option(
        None,
        "Experimental, not in the paper: no gradient for a correct rollout whose score is above this, nor for an "
        "incorrect one whose score is below minus this (nats per token).",
        "when a warning says that updates overshoot and the learning rate should stay: two or three times "
        "`scores/abs_mean` of a healthy run.",
    )
    label_threshold: float | None = option(
        None,
        "A rollout is correct when its reward exceeds this. 0.5 by default; with several reward functions it is "
        "compared with their weighted sum and has no default, unless `label_reward_func` is set.",
        "when rewards are not 0 and 1, or several functions decide together.",
        number("", lambda value: True),
    )
    label_reward_func: str | None = option(
        None,
        "Name of the one reward function that decides whether a rollout is correct.",
        "with several reward functions, one of which checks the answer.",
    )
    label_func: str | None = option(
        None,
        "Your own labels in place of the threshold: a function, or 'package.module:function', from rewards (P, G) to "
        "labels (P, G) of 1, 0 or NaN. Evaluation keeps the threshold.",
        "for graded rewards that a threshold serves badly (docs/guides/own-objective.md).",
    )
    kl_target: str = option(
        "ref",
        "Policy of the KL term that `beta` weighs: 'ref' (reference model) or 'old' (the policy that generated).",
        "with `beta` above 0: 'old' stays near the policy that sampled, and needs no reference model.",
        one_of("ref", "old"),
    )
    regularize: str = option(
        "all",
        "Rollouts that the KL term, entropy bonus and MoE balance loss act on: 'all', or 'trained' (those with a "
        "gradient from the objective). Each term is a mean over all rollouts of the step either way.",
        "with `beta`, an entropy bonus or a Mixture of Experts, where many groups are of one class: 'trained' skips "
        "them.",
        one_of("all", "trained"),
    )
    mismatch_limit: float | None = option(
        None,
        "With vLLM: drops the label of a rollout whose probabilities in training and in sampling differ by more than "
        "this factor, as a geometric mean over its tokens.",
        "to 1.1, for example, with quantized or low-precision sampling, when `mismatch/sequence_max` is far from 1.",
        number(" above 1", lambda value: value > 1),
    )
    pack_rollouts: bool | None = option(
        None,
        "Pack rollouts one after another instead of padding them. Default: if the model supports it, which is checked "
        "at the start. True makes it an error if it does not; False always pads.",
        "to False to compare with padding or to work around an attention kernel, to True in a run that must not fall "
        "back to padding.",
    )
    share_prompts: bool | None = option(
        None,
        "Compute a prompt once for its rollouts in a packed forward. Default: if the model supports it, which is "
        "checked at the start, and that saves a tenth of a forward's tokens. True makes it an error if it does not; "
        "False never shares.",
        "to False to compare or to work around an attention kernel, to True with long prompts, in a run that must not "
        "fall back.",
    )
    disable_dropout: bool = field(
        default=True,
        metadata={"help": "Turn dropout off. A score compares two forwards, and dropout would add noise to it."},
    )
    vllm_importance_sampling_correction: bool = field(
        default=False,
        metadata={"help": "Refused: it multiplies a per-token loss, which REAL does not have. See mismatch_limit."},
    )

    def __post_init__(self):
        self._check_options()
        self._check_fields()
        super().__post_init__()
        self._check_batches()
        self._check_functions()

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON takes them: functions by their import path."""
        return {name: name_of(value) for name, value in super().to_dict().items()}

    def _check_options(self) -> None:
        check_values(self)
        if self.num_generations is None or self.num_generations < 2:
            raise ValueError(
                f"`num_generations` must be 2 or more, got {self.num_generations!r}: REAL contrasts correct with "
                "incorrect rollouts of the same prompt. Write num_generations=8, as in the paper."
            )
        loss_type = LOSS_TYPES[0] if self._has_own_loss() else self.loss_type
        check_options(self.tau, loss_type, self.degenerate_groups, self.score_clip)
        if self.kl_target == "old" and self.beta == 0.0:
            warnings.warn("`kl_target='old'` has no effect while `beta` is 0.", stacklevel=4)
        if self.kl_target == "old" and self.sync_ref_model:
            raise ValueError(
                "`sync_ref_model` needs a reference model: set `kl_target='ref'`, or `sync_ref_model=False`."
            )

    def _check_functions(self) -> None:
        """The user's own functions keep their contracts on small random groups."""
        if self._has_own_loss():
            for size in {self.num_generations, self.num_generations_eval or self.num_generations}:
                check_group_loss(load_function("loss_type", self.loss_type), size)
            for name in ("tau", "degenerate_groups", "score_clip"):
                if getattr(self, name) != getattr(type(self), name):
                    warnings.warn(f"`{name}` has no effect with your own `loss_type`.", stacklevel=4)
        if self.label_func is not None:
            check_label_func(load_function("label_func", self.label_func), self.num_generations)

    def _has_own_loss(self) -> bool:
        return callable(self.loss_type) or (isinstance(self.loss_type, str) and ":" in self.loss_type)

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

    def _check_batches(self) -> None:
        """Refuse batch sizes that split groups; groups must be complete in every optimizer step."""
        if wrong := wrong_batches(self, self._written_generation_batch_size):
            raise ValueError(wrong)
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
