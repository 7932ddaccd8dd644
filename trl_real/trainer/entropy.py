"""The entropy bonus of TRL: its weight in a step, and the controller that adapts it.

TRL has both in the midst of its loss, so they are here again. The state is the trainer's own, which TRL saves and
restores with its checkpoints.
"""

from trl import GRPOTrainer


def entropy_weight(trainer: GRPOTrainer) -> float:
    """Coefficient of the bonus in this step; 0 while the entropy is above the controller's target."""
    if trainer.use_adaptive_entropy and trainer._last_world_entropy > trainer.args.entropy_target:
        return 0.0
    return trainer.entropy_coef


def adapt_entropy_coef(trainer: GRPOTrainer, entropy: float) -> None:
    """After a step with this entropy: raise the coefficient at or below the target, lower it above."""
    args = trainer.args
    if entropy <= args.entropy_target:
        trainer.entropy_coef = min(trainer.entropy_coef + args.entropy_coef_delta, args.entropy_coef_max)
    else:
        trainer.entropy_coef = max(trainer.entropy_coef - args.entropy_coef_delta, args.entropy_coef_min)
    trainer._last_world_entropy = entropy
