"""The fields of GRPOConfig that REAL does not use: inert ones, and values that it refuses, each with the reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Refusal:
    """When a field's value is refused, why, and what to write instead."""

    refused: Callable[[Any], bool]
    reason: str
    instead: str


_NO_RATIO = "REAL has no importance ratio to clip; its weights are bounded by 1/τ (Proposition 5.1)."
_NO_ADVANTAGE = "REAL uses labels, not advantages."
_NOT_USED = "belongs to a GRPO loss that REAL replaces."
_NO_VLLM_CORRECTION = "belongs to the vLLM importance sampling correction, which REAL refuses."

INERT: dict[str, str] = {
    "epsilon": _NO_RATIO,
    "epsilon_high": _NO_RATIO,
    "delta": _NO_RATIO,
    "importance_sampling_level": "The score of Eq. 5 is the length-normalized log-ratio of the entire rollout.",
    "scale_rewards": _NO_ADVANTAGE,
    "multi_objective_aggregation": _NO_ADVANTAGE,
    "sapo_temperature_neg": f"It {_NOT_USED}",
    "sapo_temperature_pos": f"It {_NOT_USED}",
    "vespo_k_pos": f"It {_NOT_USED}",
    "vespo_lambda_pos": f"It {_NOT_USED}",
    "vespo_k_neg": f"It {_NOT_USED}",
    "vespo_lambda_neg": f"It {_NOT_USED}",
    "vllm_importance_sampling_mode": f"It {_NO_VLLM_CORRECTION}",
    "vllm_importance_sampling_cap": f"It {_NO_VLLM_CORRECTION}",
    "vllm_importance_sampling_clip_max": f"It {_NO_VLLM_CORRECTION}",
    "vllm_importance_sampling_clip_min": f"It {_NO_VLLM_CORRECTION}",
    "label_smoothing_factor": "It belongs to supervised losses; GRPOTrainer does not read it either.",
}

REFUSED: dict[str, Refusal] = {
    "top_entropy_quantile": Refusal(
        lambda value: value != 1.0,
        "The score of Eq. 5 is a mean over all tokens of a rollout.",
        "top_entropy_quantile=1.0",
    ),
    "off_policy_mask_threshold": Refusal(
        lambda value: value is not None,
        "It drops rollouts by the sign of their advantage, which would change the groups.",
        "off_policy_mask_threshold=None",
    ),
    "neftune_noise_alpha": Refusal(
        bool,
        "A score compares two forwards of the same rollout, and noise on the embeddings would distort it.",
        "neftune_noise_alpha=None",
    ),
    "auto_find_batch_size": Refusal(
        bool,
        "Halving the batch when memory runs out would split groups.",
        "auto_find_batch_size=False and a smaller per_device_train_batch_size",
    ),
    "vllm_importance_sampling_correction": Refusal(
        bool,
        "It multiplies a per-token loss, which REAL does not have. REAL's scores compare log-probabilities of the "
        "training model alone; `mismatch_limit` drops the labels of rollouts to which vLLM assigned other ones.",
        "vllm_importance_sampling_correction=False (the default of REALConfig), and mismatch_limit=1.1 if wanted",
    ),
}
