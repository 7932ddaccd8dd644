"""
The contract: every private or undocumented name of TRL and Transformers, what it has to be, and why.

A test compares the table with what the trainer classes read and write: it can neither lack a name nor keep one that is
not needed. `trl:GRPOTrainer` includes what it inherits.
"""

from types import SimpleNamespace
from typing import Any

import torch

from .clauses import Behaves, Clause, Has, Lacks, Overrides, Returns, Spells, Takes


TRAINER, CONFIG, UTILS = "trl:GRPOTrainer", "trl:GRPOConfig", "trl.trainer.utils"
VLLM = "trl.generation.vllm_generation:VLLMGeneration"


def pads_on_the_right(pad: Any) -> bool:
    """One tensor of all rows, padded behind them to a multiple."""
    rows = [torch.tensor([1, 2, 3], device="cpu"), torch.tensor([4], device="cpu")]
    return pad(rows, 0, "right", 2).tolist() == [[1, 2, 3, 0], [4, 0, 0, 0]]


def head_scores_labels(add_fused_lm_head: Any) -> bool:
    """Log-probabilities of given labels on a CPU: of `labels` shifted, of `shift_labels` not; 0 where one is -100."""
    # No random numbers: the state of the generator belongs to the user
    hidden = torch.arange(6, dtype=torch.float32, device="cpu").view(1, 3, 2)
    model: Any = torch.nn.Module()
    model.config = SimpleNamespace(get_text_config=lambda: model.config)
    model.base_model = lambda **kwargs: SimpleNamespace(last_hidden_state=hidden)
    model.get_output_embeddings = lambda: SimpleNamespace(weight=torch.eye(2, device="cpu"), bias=None)
    add_fused_lm_head(model, temperature=1.0, outputs=("log_probs", "entropy"))
    output = model(shift_labels=torch.tensor([[1, -100, 0]], device="cpu"), fused_lm_head=True)
    logps = hidden.log_softmax(-1)[0]
    expected = torch.stack([logps[0, 1], torch.zeros((), device="cpu"), logps[2, 0]])
    shifted = model(labels=torch.tensor([[-100, 1, -100]], device="cpu"), fused_lm_head=True)
    entropy = -(logps.exp() * logps).sum(-1)
    kept = torch.tensor([0, 2], device="cpu")
    return bool(
        torch.allclose(output.log_probs[0], expected)
        and torch.allclose(shifted.log_probs[0], expected[:2])
        and torch.allclose(output.entropy[0, kept], entropy[kept])
    )


# Keys of a generation that the step reads: one entry per rollout, or per token of prompt and completion
ROLLOUT_KEYS = (
    "prompt_ids prompt_mask completion_ids completion_mask tool_mask sampling_per_token_logps pixel_values "
    "image_grid_thw pixel_attention_mask spatial_shapes image_sizes image_position_ids num_images num_tiles "
    "token_type_ids mm_token_type_ids"
)
# Those that it replaces: REAL has no advantages, and computes log-probabilities itself
REPLACED_KEYS = "advantages num_items_in_batch old_per_token_logps ref_per_token_logps importance_sampling_ratio"

CONTRACT: tuple[Clause, ...] = (
    # ---- TRL: functions, imported in compat.py ----------------------------------------------------------------------
    Takes(f"{UTILS}:get_callable_name", "names a reward function before any weight is read", "func"),
    Takes(f"{UTILS}:get_config_model_id", "names the default output folder", "config"),
    Takes(f"{UTILS}:is_async_callable", "errors of a reward function name it", "func"),
    Takes(f"{UTILS}:nanstd", "spread of rewards", "tensor dim"),
    Takes(f"{UTILS}:pad", "pads a micro-batch", "tensors padding_value padding_side pad_to_multiple_of"),
    Behaves(f"{UTILS}:pad", "pads a micro-batch", pads_on_the_right),
    Takes(f"{UTILS}:split_pixel_values_by_grid", "images as single rollouts", "batch"),
    Takes(f"{UTILS}:unsplit_pixel_values_by_grid", "images of a micro-batch", "batch"),
    Takes(f"{UTILS}:use_adapter", "the reference policy of a LoRA run", "model adapter_name"),
    Behaves(f"{UTILS}:add_fused_lm_head", "log-probabilities of packed rows", head_scores_labels),
    # ---- TRL: methods of the trainer that are replaced, or called ---------------------------------------------------
    Overrides(f"{TRAINER}.__init__", "adds the state of REAL", None),
    Overrides(f"{TRAINER}.create_accelerator_and_postprocess", "FSDP rounds nothing", "self"),
    Overrides(f"{TRAINER}._get_train_sampler", "remembers the sampler, to resume", "self dataset"),
    Overrides(
        f"{TRAINER}.training_step", "skips micro-steps without rollouts", "self model inputs num_items_in_batch"
    ),
    Overrides(f"{TRAINER}._prepare_inputs", "complete groups in every optimizer step", "self generation_batch"),
    Overrides(f"{TRAINER}._calculate_rewards", "rewards become labels", None),
    Overrides(f"{TRAINER}._get_per_token_logps_and_entropies", "postponed until the plan needs them", None),
    Returns(f"{TRAINER}._get_per_token_logps_and_entropies", "postponed until the plan needs them", 3),
    Overrides(f"{TRAINER}._compute_loss", "the objective", "self model inputs"),
    Overrides(f"{TRAINER}._generate", "lengths in evaluation", "self prompts"),
    Returns(f"{TRAINER}._generate", "lengths in evaluation", 8),
    Overrides(f"{TRAINER}.get_eval_dataloader", "every prompt counts once", "self eval_dataset"),
    Overrides(f"{TRAINER}.create_model_card", "names this package", "self model_name dataset_name tags"),
    Overrides(f"{TRAINER}.log", "adds histograms to the record", "self logs start_time"),
    Overrides(
        f"{TRAINER}.evaluate", "checks metric_for_best_model", "self eval_dataset ignore_keys metric_key_prefix"
    ),
    Overrides(
        f"{TRAINER}.evaluation_loop",
        "metrics of the entire set",
        "self dataloader description prediction_loss_only ignore_keys metric_key_prefix",
    ),
    Overrides(
        f"{TRAINER}.train",
        "finds the newest complete checkpoint",
        "self resume_from_checkpoint trial ignore_keys_for_eval",
    ),
    Overrides(f"{TRAINER}._run_epoch", "no step beyond the last", None),
    Overrides(f"{TRAINER}._save_checkpoint", "complete checkpoints only", "self model trial"),
    Overrides(f"{TRAINER}._get_output_dir", "checkpoints are written aside", "self trial"),
    Overrides(f"{TRAINER}._push_from_checkpoint", "pushed once complete", "self checkpoint_folder"),
    Takes(f"{TRAINER}._generate_and_score_completions", "makes the rollouts", "self inputs"),
    Returns(f"{TRAINER}._generate_and_score_completions", "makes the rollouts", f"{ROLLOUT_KEYS} {REPLACED_KEYS}"),
    Takes(f"{TRAINER}._get_collator_with_removed_columns", "evaluation batches", "self data_collator description"),
    Takes(f"{TRAINER}.add_callback", "finds the position after resuming", "self callback"),
    # ---- TRL: state of the trainer ----------------------------------------------------------------------------------
    Has(TRAINER, "the position in the run", "_step current_gradient_accumulation_steps num_iterations"),
    Has(TRAINER, "what is logged", "_metrics _logs _current_train_step_time"),
    Has(TRAINER, "the entropy bonus", "_entropy_bonus_enabled _last_world_entropy entropy_coef use_adaptive_entropy"),
    Has(TRAINER, "the balance loss of experts", "aux_loss_enabled router_aux_loss_coef"),
    Has(TRAINER, "the KL term", "ref_model"),
    Has(TRAINER, "rewards become labels", "reward_func_names reward_funcs reward_weights"),
    Has(TRAINER, "groups", "num_generations num_generations_eval mask_truncated_completions"),
    Has(TRAINER, "padding and ends of completions", "_tokenizer eos_token_ids pad_to_multiple_of"),
    Has(TRAINER, "positions that change with the length", "max_completion_length"),
    Has(TRAINER, "sampling in evaluation", "generation_config use_vllm vllm_generation temperature top_p"),
    Has(TRAINER, "weights that vLLM has not seen", "_last_loaded_step"),
    Has(TRAINER, "model card", "_tag_names _name _paper"),
    Has(TRAINER, "the trainer of Transformers", "accelerator args model optimizer is_in_train"),
    Has(TRAINER, "its position and control flow", "state control"),
    Has(TRAINER, "evaluation sets", "eval_dataset data_collator"),
    Has(TRAINER, "histograms go to its trackers", "callback_handler"),
    Has("transformers.integrations:TensorBoardCallback", "draws histograms", "tb_writer"),
    Spells(TRAINER, "metrics and the table of completions", "train eval extra advantages"),
    Behaves(f"{TRAINER}.loss_is_scaled_for_ga", "the loss is a mean already", lambda scaled: scaled is True),
    # ---- TRL: the rest ----------------------------------------------------------------------------------------------
    Has(
        CONFIG,
        "options that are read",
        (
            "accelerator_config beta bf16 dataloader_multiprocessing_context dataloader_num_workers "
            "dataloader_prefetch_factor ddp_find_unused_parameters disable_dropout entropy_coef_delta "
            "entropy_coef_max entropy_coef_min entropy_target eval_on_start eval_strategy fp16 generation_batch_size "
            "generation_kwargs gradient_accumulation_steps gradient_checkpointing_kwargs ignore_data_skip loss_type "
            "max_steps metric_for_best_model num_generations num_generations_eval num_iterations output_dir "
            "per_device_eval_batch_size per_device_train_batch_size push_to_hub report_to reward_weights "
            "save_only_model save_total_limit should_save steps_per_generation sync_ref_model temperature "
            "torch_compile use_bias_correction_kl use_vllm world_size"
        ),
    ),
    Lacks(
        CONFIG,
        "an option of REAL, which would have two meanings",
        (
            "tau degenerate_groups score_clip label_threshold label_reward_func label_func kl_target regularize "
            "mismatch_limit pack_rollouts share_prompts eval_temperature eval_top_p"
        ),
    ),
    Has(f"{UTILS}:RepeatSampler", "resuming in a later epoch", "shuffle num_samples generator"),
    Has(VLLM, "sampling in evaluation", "temperature top_p"),
    Has(
        VLLM,
        "what is sent to vLLM, and its precision",
        "model accelerator mode llm _dist _iter_named_params _fix_param_name_to_vllm",
    ),
    Has(VLLM, "the server's log-probabilities", "vllm_client"),
    Has("trl.generation.vllm_client:VLLMClient", "whether they are processed", "get_server_info"),
    # ---- Transformers -----------------------------------------------------------------------------------------------
    Takes(
        "transformers.integrations.sdpa_attention:sdpa_attention_forward",
        "attention of packed rows",
        "module query key value attention_mask",
    ),
    Takes(
        "transformers.utils.generic:is_flash_attention_requested",
        "packed rows under FlashAttention",
        "config requested_attention_implementation",
    ),
    Takes(
        "transformers.models.mixtral.modeling_mixtral:load_balancing_loss_func",
        "the balance loss of a single rollout",
        "gate_logits num_experts top_k",
    ),
    Takes(
        "transformers.trainer_utils:rotate_checkpoints",
        "removes older checkpoints",
        "output_dir save_total_limit best_model_checkpoint use_mtime",
    ),
    Has("transformers.modeling_outputs:MoeModelOutputWithPast", "the balance loss", "router_logits"),
    Has(
        "transformers.modeling_layers:GradientCheckpointingLayer",
        "forwards without a gradient",
        "gradient_checkpointing",
    ),
    Has("transformers:PreTrainedConfig", "the attention of packed rows", "_attn_implementation"),
    Has("transformers:PreTrainedModel", "a model that cannot be packed", "_is_stateful _supports_attention_backend"),
    Has(
        "transformers:PreTrainedModel",
        "whether checkpointing is reentrant",
        "gradient_checkpointing _gradient_checkpointing_func",
    ),
    Has(
        "transformers.modeling_flash_attention_utils:FlashAttentionKwargs",
        "where a packed row ends",
        "cu_seq_lens_q cu_seq_lens_k max_length_q max_length_k",
    ),
)
