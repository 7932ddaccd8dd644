"""REALConfig: GRPOConfig with the options of REAL, and the checks that keep groups complete.

An option is written once, here: name, type, default, help, when to set it, allowed values. The docstring, `--help`,
docs/config.md and the checks are made from that.
"""

import warnings
from dataclasses import dataclass, field, fields
from typing import Any

from ..objective import (
    LOSS_TYPES,
    LabelRule,
    check_group_loss,
    check_label_func,
    check_options,
    load_function,
    make_label_rule,
    name_of,
)
from ..options import check_values, document, number, one_of, option
from ..validation.batches import batch_numbers, wrong_batches
from ..validation.config import ValidationConfig
from .fields import INERT, REFUSED


@document
@dataclass
class REALConfig(ValidationConfig):
    r"""
    Configuration of [`REALTrainer`]. Every field of [`~trl.GRPOConfig`] keeps its meaning, gives a warning because
    REAL does not use it, or is refused with the reason: see `docs/config.md`.

    Raises:
        `ValueError`: If a field has a value that is not allowed or is refused, or splits groups between optimizer
        steps; the message names the field and what to write instead.
    """

    tau: float = option(
        0.5,
        "Temperature τ of the classification loss (Section 5.1). Gradient weights are bounded by 1/τ.",
        "to repeat the paper's ablation: 0.1 collapsed there (Section 5.3).",
    )
    loss_type: str = option(
        "real",
        "'real' (anchored softmax, Eq. 8), 'real_no_anchor' (Eq. 2), 'bce' (Eq. 11 as a mean over the group), or a "
        "custom loss: a function or 'package.module:function'.",
        "to repeat the paper's ablations, or to train a custom loss (docs/guides/own-objective.md).",
    )
    degenerate_groups: str = option(
        "drop",
        "Groups in which all rollouts are correct or all incorrect: 'drop' (no gradient, but they count in the mean, "
        "as in the authors' code) or 'keep' (Eq. 8 as printed).",
        "to train with Eq. 8 as printed: 'keep' makes the rollouts of all-correct groups more likely, which takes "
        "forwards for them.",
    )
    score_clip: float | None = option(
        None,
        "Not in the paper: no gradient for a correct rollout whose score is above this, nor for an incorrect one "
        "whose score is below minus this (nats per token).",
        "if correct rollouts are rare, or a warning reports that updates overshoot: two or three times "
        "`scores/abs_mean` of a healthy run.",
    )
    label_threshold: float | None = option(
        None,
        "A rollout is correct when its reward exceeds this. Default: 0.5. With several reward functions it is "
        "compared with their weighted sum and has no default, unless `label_reward_func` is set.",
        "when rewards are not 0 and 1, or when several reward functions decide together.",
        number("", lambda value: True),
    )
    label_reward_func: str | None = option(
        None,
        "Name of the one reward function that decides whether a rollout is correct.",
        "with several reward functions, one of which checks the answer.",
    )
    label_func: str | None = option(
        None,
        "Custom labels in place of the threshold: a function or 'package.module:function' from rewards (P, G) to "
        "labels (P, G) of 1, 0 or NaN. Evaluation keeps the threshold.",
        "for graded rewards that no threshold separates well (docs/guides/own-objective.md).",
    )
    kl_target: str = option(
        "ref",
        "Policy in the KL term that `beta` weights: 'ref' (the reference model) or 'old' (the policy that generated).",
        "with `beta` above 0: 'old' keeps the policy near the one that sampled and needs no reference model.",
        one_of("ref", "old"),
    )
    regularize: str = option(
        "all",
        "Rollouts in the KL term, entropy bonus and MoE balance loss: 'all', or 'trained' (those with a gradient from "
        "the objective). Either way, each term is a mean over all rollouts of the step.",
        "with `beta`, an entropy bonus or a Mixture of Experts, if many groups are all correct or all incorrect: "
        "'trained' skips them.",
        one_of("all", "trained"),
    )
    mismatch_limit: float | None = option(
        None,
        "With vLLM: drops a rollout's label if vLLM and trainer probabilities differ by more than this factor, as a "
        "geometric mean over its tokens.",
        "with quantized or low-precision sampling, when `mismatch/sequence_max` is far from 1; for example to 1.1.",
        number(" above 1", lambda value: value > 1),
    )
    pack_rollouts: bool | None = option(
        None,
        "Packs rollouts one after another instead of padding them. Default: if the model supports it, which is tested "
        "at startup. True raises an error if it does not; False always pads.",
        "to False to compare with padding or to work around an attention kernel; to True if a run must not fall back "
        "to padding.",
    )
    share_prompts: bool | None = option(
        None,
        "Computes a prompt once for its rollouts in a packed forward. Default: if the model supports it, which is "
        "tested at startup, and it saves at least a tenth of a forward's tokens. True raises an error if it does not; "
        "False never shares.",
        "to False to compare or to work around an attention kernel; to True with long prompts, if a run must not fall "
        "back.",
    )
    disable_dropout: bool = field(
        default=True,
        metadata={"help": "Turns dropout off. A score compares two forwards, and dropout would add noise to it."},
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
        """The fields as JSON accepts them: functions by their import path."""
        return {name: name_of(value) for name, value in super().to_dict().items()}

    def label_rule(self, reward_names: list[str]) -> LabelRule:
        """How rewards of functions with these names become labels. Raises `ValueError` if the fields do not say."""
        label_func = None if self.label_func is None else load_function("label_func", self.label_func)
        return make_label_rule(reward_names, self.label_threshold, self.label_reward_func, label_func)

    def _check_options(self) -> None:
        check_values(self)
        if self.num_generations is None or self.num_generations < 2:
            raise ValueError(
                f"`num_generations` must be 2 or more, got {self.num_generations!r}: REAL contrasts correct with "
                "incorrect rollouts of the same prompt. Write num_generations=8, as in the paper."
            )
        loss_type = LOSS_TYPES[0] if self._has_custom_loss() else self.loss_type
        check_options(self.tau, loss_type, self.degenerate_groups, self.score_clip)
        if self.kl_target == "old" and self.beta == 0.0:
            warnings.warn("`kl_target='old'` has no effect while `beta` is 0.", stacklevel=4)
        if self.kl_target == "old" and self.sync_ref_model:
            raise ValueError(
                "`sync_ref_model` needs a reference model: write kl_target='ref', or sync_ref_model=False."
            )

    def _check_functions(self) -> None:
        """Run custom functions on small random groups."""
        group, *_ = batch_numbers(self)
        if self._has_custom_loss():
            for size in {group, self.num_generations_eval or group}:
                check_group_loss(load_function("loss_type", self.loss_type), size)
            for name in ("tau", "degenerate_groups", "score_clip"):
                if getattr(self, name) != getattr(type(self), name):
                    warnings.warn(f"`{name}` has no effect with a custom `loss_type`.", stacklevel=4)
        if self.label_func is not None:
            check_label_func(load_function("label_func", self.label_func), group)

    def _has_custom_loss(self) -> bool:
        return callable(self.loss_type) or (isinstance(self.loss_type, str) and ":" in self.loss_type)

    def _check_fields(self) -> None:
        """Refuse values that would change what REAL is; warn about fields without effect."""
        # TRL and Transformers remove fields from time to time; those are not looked up
        defaults = {item.name: item.default for item in fields(type(self))}
        for name, refusal in REFUSED.items():
            if name in defaults and refusal.refused(getattr(self, name)):
                raise ValueError(
                    f"REAL does not support `{name}={getattr(self, name)!r}`. {refusal.reason} "
                    f"Write {refusal.instead}."
                )
        same = {"scale_rewards": ("group", True)}  # TRL's __post_init__ turns the boolean into the name
        for name, reason in INERT.items():
            if name in defaults and getattr(self, name) not in same.get(name, (defaults[name],)):
                warnings.warn(f"`{name}` has no effect in REAL. {reason}", stacklevel=4)

    def _check_batches(self) -> None:
        """Groups must be complete in every optimizer step."""
        if wrong := wrong_batches(self, self._written_generation_batch_size):
            raise ValueError(wrong)
        accelerator_config: Any = self.accelerator_config  # which Transformers' __post_init__ made an object
        if accelerator_config.split_batches:
            raise ValueError(
                "`accelerator_config`: split_batches=True shares the batch of one process among all of them, so a "
                "generation would lose rollouts. Omit it."
            )
        if accelerator_config.dispatch_batches:
            raise ValueError(
                "`accelerator_config`: dispatch_batches=True makes the main process split batches of text, which "
                "Accelerate cannot do. Omit it: every process reads its own rows."
            )
