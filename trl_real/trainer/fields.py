"""What REAL makes of every field of GRPOConfig: honoured as in GRPOTrainer, inert, or refused with the reason.

`REALConfig` warns about inert fields that are set and raises for refused values. `docs/config.md` is the table of this
module (`make docs` writes it); a test keeps both complete for the installed TRL and
Transformers.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass
from typing import Any

from ..options import described


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
    "importance_sampling_level": "The score of Eq. 5 is the length-normalized log-ratio of the whole rollout.",
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
        "The score of Eq. 5 is a mean over all tokens of a rollout; without some of them it would be another score.",
        "top_entropy_quantile=1.0",
    ),
    "off_policy_mask_threshold": Refusal(
        lambda value: value is not None,
        "It drops rollouts by the sign of their advantage, which would change the groups that REAL classifies.",
        "off_policy_mask_threshold=None",
    ),
    "neftune_noise_alpha": Refusal(
        lambda value: bool(value),
        "Noise on the embeddings would enter every score, which compares two forwards of the same rollout.",
        "neftune_noise_alpha=None",
    ),
    "auto_find_batch_size": Refusal(
        lambda value: bool(value),
        "Halving the batch on out-of-memory would tear groups apart.",
        "auto_find_batch_size=False and a smaller per_device_train_batch_size",
    ),
    "vllm_importance_sampling_correction": Refusal(
        lambda value: bool(value),
        "It multiplies a per-token loss, which REAL does not have. With vLLM, REAL compares with log-probabilities of "
        "the training model itself, and `mismatch_limit` takes the label from rollouts that vLLM sees otherwise.",
        "vllm_importance_sampling_correction=False (the default of REALConfig), and mismatch_limit=1.1 if wanted",
    ),
}

# Honoured, with something to know; every other field works exactly as in GRPOTrainer.
NOTES: dict[str, str] = {
    "loss_type": "REAL's own: `real`, `real_no_anchor`, `bce`, or a function of yours.",
    "beta": "Weight of the KL term to `kl_target`, a mean over rollouts of the rollout's mean over tokens. If not 0, "
    "all rollouts are trained on, unless `regularize` says otherwise.",
    "use_bias_correction_kl": "The KL term of a token is multiplied by its importance ratio.",
    "entropy_coef": "The bonus is a mean over rollouts of the rollout's mean token entropy. If not 0, all rollouts "
    "are trained on.",
    "use_adaptive_entropy": "As `entropy_coef`; the controller sees the token mean of the whole optimizer step.",
    "router_aux_loss_coef": "The loss is that of each rollout by itself, then a mean. If not 0 (see the model's own "
    "default), all rollouts are trained on. Must be 0 under reentrant checkpointing, where it has no gradient.",
    "reward_weights": "Weights of the sum that is compared with `label_threshold`; not read with `label_reward_func`.",
    "mask_truncated_completions": "A truncated rollout has no label and is not trained on.",
    "disable_dropout": "Defaults to true: a score compares two forwards, and dropout would add noise to it.",
    "steps_per_generation": "Must divide, or be divided by, `gradient_accumulation_steps`, with whole groups in every "
    "optimizer step.",
    "per_device_train_batch_size": "Most rollouts that a process runs at once. May be smaller than a group.",
    "sync_ref_model": "Only with `kl_target='ref'`.",
    "per_device_eval_batch_size": "Most rollouts that a process samples at once. Every prompt counts once with all "
    "its samples, whatever this, the size of the set and the number of processes are.",
    "metric_for_best_model": "`eval_avg@8`, for example, or `eval_<set>_avg@8`, with 8 samples.",
    "dataloader_drop_last": "Evaluation drops nothing.",
}


def category(name: str) -> str:
    """`"inert"`, `"refused"`, `"honoured"` (with a note) or `"as in GRPOTrainer"`."""
    for table, title in ((INERT, "inert"), (REFUSED, "refused"), (NOTES, "honoured")):
        if name in table:
            return title
    return "as in GRPOTrainer"


# The other fields that were looked at. A field that a new TRL or Transformers adds is in none of the tables, and the
# test that walks over GRPOConfig fails until someone has looked at it.
AS_IN_GRPO = frozenset(
    """
    accelerator_config activation_checkpointing activation_checkpointing_kwargs adam_beta1 adam_beta2 adam_epsilon
    average_tokens_across_devices batch_eval_metrics bf16 bf16_full_eval cache_implementation cast_lm_head_to_fp32
    chat_template_kwargs data_seed dataloader_in_order dataloader_multiprocessing_context
    dataloader_num_workers dataloader_persistent_workers dataloader_pin_memory dataloader_prefetch_factor ddp_backend
    ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph ddp_timeout debug deepspeed
    disable_tqdm do_eval do_predict do_train ds3_gather_for_generation enable_jit_checkpoint entropy_coef_delta
    entropy_coef_max entropy_coef_min entropy_target eval_accumulation_steps eval_delay eval_do_concat_batches
    eval_on_start eval_steps eval_strategy eval_use_gather_object fp16 fp16_full_eval fsdp fsdp_config
    full_determinism generation_batch_size generation_kwargs gradient_accumulation_steps gradient_checkpointing
    gradient_checkpointing_kwargs greater_is_better hub_always_push hub_model_id hub_private_repo hub_revision
    hub_strategy hub_token ignore_data_skip include_for_metrics include_num_input_tokens_seen label_names
    learning_rate length_column_name liger_kernel_config load_best_model_at_end local_rank log_completions
    log_completions_hub_repo log_level log_level_replica log_multimodal log_on_each_node log_unique_prompts
    logging_first_step logging_nan_inf_filter logging_steps logging_strategy lr_scheduler_kwargs lr_scheduler_type
    max_completion_length max_grad_norm max_steps max_tool_calling_iterations min_p
    model_init_kwargs num_completions_to_print num_generations num_generations_eval num_iterations num_train_epochs
    optim optim_args optim_target_modules output_dir pad_to_multiple_of parallelism_config
    prediction_loss_only project push_to_hub ref_model_mixup_alpha ref_model_sync_steps remove_unused_columns
    repetition_penalty report_to restore_callback_states_from_checkpoint resume_from_checkpoint run_name
    save_on_each_node save_only_model save_steps save_strategy save_total_limit seed shuffle_dataset
    skip_memory_metrics temperature tf32 top_k top_p torch_compile torch_compile_backend torch_compile_mode
    torch_empty_cache_steps trackio_bucket_id trackio_space_id trackio_static_space_id train_sampling_strategy
    transformers_continuous_batching_config trust_remote_code use_cache use_cpu use_liger_kernel
    use_transformers_continuous_batching use_transformers_paged use_vllm vllm_enable_sleep_mode
    vllm_gpu_memory_utilization vllm_group_port vllm_max_model_length vllm_mode vllm_model_impl vllm_server_base_url
    vllm_server_host vllm_server_port vllm_server_timeout vllm_structured_outputs_regex vllm_tensor_parallel_size
    warmup_steps weight_decay
    """.split()
)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]


def _sentence(item: Field) -> str:
    when = re.sub(r"docs/([\w/-]+\.md)", r"[\1](\1)", item.metadata["help"].when)
    return f"{when[0].upper()}{when[1:]}"


def _difference(name: str) -> str:
    """What a user should know of a field that is not as in GRPOTrainer."""
    if name in REFUSED:
        return f"{REFUSED[name].reason} Write `{REFUSED[name].instead}`."
    return INERT.get(name) or NOTES[name]


def markdown_table(config: type) -> str:
    """
    docs/config.md.

    Args:
        config (`type`):
            REALConfig, whose own fields say what they do and when to set them.
    """
    options = described(config)
    own = ((f"`{item.name}`", f"`{item.default}`", item.metadata["help"], _sentence(item)) for item in options)
    # `loss_type` is a field of GRPOConfig with values of REAL's own
    different = sorted({*INERT, *NOTES, *REFUSED} - {item.name for item in options})
    lines = [
        "# Every field of REALConfig",
        "",
        "Written from `trl_real/trainer/fields.py` by `make docs`. What to start with:",
        "[settings and metrics](guides/metrics.md#settings-that-matter).",
        "",
        "## REAL's own",
        "",
        *_table(("field", "default", "what it does", "when to set it"), own),
        "",
        "## Different from GRPOTrainer",
        "",
        "An inert field gives a warning when it is set; a refused value is an error at construction.",
        "",
        *_table(
            ("field", "in REAL", "note"), ((f"`{name}`", category(name), _difference(name)) for name in different)
        ),
        "",
        "## As in GRPOTrainer",
        "",
        "All other fields of `GRPOConfig`:",
        ", ".join(f"`{name}`" for name in sorted(AS_IN_GRPO)) + ".",
    ]
    return "\n".join(lines) + "\n"
