"""The trainer's options -> the update phase (`step`), which knows no trainer."""

from typing import Any

from ..objective import make_objective
from ..step.regularizers import Regularizers
from ..step.settings import StepSettings
from ..step.update import UpdatePhase
from .position import micro_steps_per_step


def make_phase(trainer: Any, regularized: bool) -> UpdatePhase:
    """
    What stands in place of GRPOTrainer's loss.

    Args:
        trainer ([`REALTrainer`]):
            Its models, accelerator and options.
        regularized (`bool`):
            Whether anything is added to the objective.
    """
    args, balance_coef = trainer.args, trainer.router_aux_loss_coef if trainer.aux_loss_enabled else 0.0
    micro_steps = micro_steps_per_step(args)
    settings = StepSettings(
        num_generations=trainer.num_generations,
        rows_per_process=args.per_device_train_batch_size,
        steps_per_generation=args.steps_per_generation // micro_steps,
        micro_steps=micro_steps,
        num_iterations=trainer.num_iterations,
        pad_token_id=trainer._tokenizer.pad_token_id,
        pad_to_multiple_of=trainer.pad_to_multiple_of,
        max_completion_length=trainer.max_completion_length,
        pack_rollouts=args.pack_rollouts,
        share_prompts=args.share_prompts,
        compiled=args.torch_compile,
        dropout=not args.disable_dropout,
        regularizers=Regularizers(args.beta, args.kl_target, args.use_bias_correction_kl, balance_coef),
        trains_every_rollout=regularized and args.regularize == "all",
        mismatch_limit=args.mismatch_limit,
        compares_sampler=args.use_vllm or args.mismatch_limit is not None,
    )
    objective = make_objective(args.tau, args.loss_type, args.degenerate_groups, args.score_clip)
    return UpdatePhase(trainer.model, trainer.ref_model, trainer.accelerator, objective, settings)
