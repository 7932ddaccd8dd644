"""One line that says what a run does, once the first rollouts have told.

In: a trainer. Out: how forwards are laid out and why, the size of an optimizer step, what counts as right, and the TRL
below.
"""

import trl
from trl import GRPOTrainer

from ..objective.labels import LabelRule
from ..objective.own import name_of


def start_line(trainer: GRPOTrainer, layout: str, rule: LabelRule) -> str:
    """
    Such as `packed, prompts shared | 4 prompts × 8 rollouts per optimizer step, 4 steps per generation | right =
    exact > 0.5`.
    """
    args = trainer.args
    accumulation, per_generation = args.gradient_accumulation_steps, args.steps_per_generation
    prompts = args.per_device_train_batch_size * args.world_size * accumulation // trainer.num_generations
    size = f"{prompts} prompts × {trainer.num_generations} rollouts per optimizer step"
    if accumulation > per_generation:
        steps = f"{accumulation // per_generation} generations per step"
    else:
        count = per_generation // accumulation
        steps = f"{count} step{'s' if count > 1 else ''} per generation"
    again = f", used {trainer.num_iterations} times" if trainer.num_iterations > 1 else ""
    parts = (
        layout,
        f"{size}, {steps}{again}",
        f"right = {_right(trainer, rule)}",
        f"TRL {trl.__version__}",
    )
    return " | ".join(parts)


def _right(trainer: GRPOTrainer, rule: LabelRule) -> str:
    if rule.column is not None:
        reward = trainer.reward_func_names[rule.column]
    else:
        weights = trainer.reward_weights.tolist()
        named = zip(trainer.reward_func_names, weights, strict=True)
        reward = " + ".join(name if weight == 1 else f"{weight:g} × {name}" for name, weight in named)
    if rule.label_func is not None:
        return f"{name_of(rule.label_func)} of {reward}"
    return f"{reward} > {rule.threshold:g}"
