"""`python -m docs.tools.config_page` writes docs/config.md, every field of REALConfig, from the package."""

import re
from collections.abc import Iterable
from dataclasses import Field
from pathlib import Path

from trl_real import REALConfig
from trl_real.options import described
from trl_real.trainer.fields import INERT, REFUSED


PAGE = Path(__file__).parents[1] / "config.md"
# Honored, with a note
NOTES: dict[str, str] = {
    "loss_type": "REAL has its own losses: `real`, `real_no_anchor`, `bce`, or your function.",
    "beta": "Weight of the KL term to `kl_target`: a mean over rollouts of each rollout's mean over tokens. If it is "
    "not 0, all rollouts are trained on, unless `regularize` is 'trained'.",
    "use_bias_correction_kl": "A token's KL term is multiplied by its importance ratio.",
    "entropy_coef": "The bonus is a mean over rollouts of each rollout's mean token entropy. If it is not 0, all "
    "rollouts are trained on, unless `regularize` is 'trained'.",
    "use_adaptive_entropy": "As `entropy_coef`; the controller reads the mean over the tokens of the optimizer step.",
    "router_aux_loss_coef": "The loss is computed for each rollout by itself, then averaged. If it is not 0 (see the "
    "model's default), all rollouts are trained on, unless `regularize` is 'trained'. It must be 0 under reentrant "
    "checkpointing, which gives it no gradient.",
    "reward_weights": "Weights of the sum that is compared with `label_threshold`; unused with `label_reward_func`.",
    "mask_truncated_completions": "A truncated rollout has no label and is not trained on.",
    "disable_dropout": "True by default: a score compares two forwards, and dropout would add noise to it.",
    "steps_per_generation": "Must be a multiple or a divisor of `gradient_accumulation_steps`, with complete groups "
    "in every optimizer step.",
    "per_device_train_batch_size": "Most rollouts that a process runs at once. It may be smaller than a group.",
    "sync_ref_model": "Only with `kl_target='ref'`.",
    "per_device_eval_batch_size": "Most rollouts that a process samples at once. Every prompt counts once with all "
    "its samples, whatever the batch size, the size of the set and the number of processes.",
    "metric_for_best_model": "For example `eval_avg@8`, or `eval_<set>_avg@8`, with 8 samples.",
    "dataloader_drop_last": "Evaluation drops nothing.",
}

# Every other field. One that a new TRL or Transformers adds is in none of the tables, and a test fails until someone
# has decided where it belongs.
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
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]


def _when(item: Field) -> str:
    """When to set a field, as a sentence with links."""
    when = re.sub(r"docs/([\w/-]+\.md)", r"[\1](\1)", item.metadata["help"].when)
    return f"{when[0].upper()}{when[1:]}"


def _difference(name: str) -> tuple[str, str]:
    """What REAL does with a field that is not as in GRPOTrainer, and why."""
    if name in REFUSED:
        return "refused", f"{REFUSED[name].reason} Write `{REFUSED[name].instead}`."
    return ("inert", INERT[name]) if name in INERT else ("honored", NOTES[name])


def config_page() -> str:
    """The text of docs/config.md."""
    options = described(REALConfig)
    own = ((f"`{item.name}`", f"`{item.default}`", item.metadata["help"], _when(item)) for item in options)
    # `loss_type` is a field of GRPOConfig, but REAL gives it values of its own
    different = sorted({*INERT, *NOTES, *REFUSED} - {item.name for item in options})
    lines = [
        "# Every field of REALConfig",
        "",
        "`make docs` writes this page from `trl_real/trainer/config.py` and `fields.py`. What to start with:",
        "[settings and metrics](guides/metrics.md#settings-that-matter).",
        "",
        "## Added by REAL",
        "",
        *_table(("field", "default", "what it does", "when to set it"), own),
        "",
        "## Different from GRPOTrainer",
        "",
        "Setting an inert field gives a warning; a refused value is an error at construction.",
        "",
        *_table(("field", "in REAL", "note"), ((f"`{name}`", *_difference(name)) for name in different)),
        "",
        "## As in GRPOTrainer",
        "",
        "All other fields of `GRPOConfig`:",
        ", ".join(f"`{name}`" for name in sorted(AS_IN_GRPO)) + ".",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(config_page(), "utf-8")
