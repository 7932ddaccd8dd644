"""What happens once at the start of a run: the update phase from the trainer's options, dropout, lines for the log."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import trl
from torch import nn

from ..objective import LabelRule, make_objective, name_of
from ..step.settings import Regularizers, StepSettings
from ..step.update import UpdatePhase
from ..validation.batches import batch_numbers
from .config import REALConfig


if TYPE_CHECKING:
    from .trainer import REALTrainer


def make_phase(trainer: "REALTrainer", regularized: bool) -> UpdatePhase:
    """The update phase with this trainer's models and options; `regularized` if the objective has added terms."""
    tokenizer: Any = trainer._tokenizer
    args, balance_coef = trainer.args, trainer.router_aux_loss_coef if trainer.aux_loss_enabled else 0.0
    _, _, accumulation, per_generation = batch_numbers(args)
    micro_steps = min(accumulation, per_generation)
    settings = StepSettings(
        num_generations=trainer.num_generations,
        rows_per_process=args.per_device_train_batch_size,
        steps_per_generation=per_generation // micro_steps,
        micro_steps=micro_steps,
        num_iterations=trainer.num_iterations,
        pad_token_id=tokenizer.pad_token_id,
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


def functional_dropouts(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Modules that pass a dropout rate above 0 to a function, and its name (`attention_dropout`, `layerdrop`, ...)."""
    for module in model.modules():
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float) and value > 0:
                yield module, name


def disable_functional_dropout(model: nn.Module) -> None:
    """Sets these rates to 0. TRL's `disable_dropout` sets those of `nn.Dropout` alone."""
    for module, name in list(functional_dropouts(model)):
        setattr(module, name, 0.0)


def advice(model: nn.Module, args: REALConfig) -> Iterator[str]:
    """A warning for each setting that works but is rarely intended."""
    dropouts = [getattr(config, "lora_dropout", 0.0) for config in getattr(model, "peft_config", {}).values()]
    if args.disable_dropout and any(dropouts):
        yield (
            f"lora_dropout={max(dropouts)} is turned off because `disable_dropout` is true by default in REAL: a "
            "score compares two forwards of the same rollout. Write lora_dropout=0.0, or disable_dropout=False."
        )
    modules = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    if modules or any(functional_dropouts(model)):
        yield "Dropout is on, which adds noise to every score. Write disable_dropout=True to turn it off."
    _, _, accumulation, per_generation = batch_numbers(args)
    if accumulation % (per_generation * args.num_iterations) == 0:
        yield (
            "Every optimizer step uses fresh rollouts, so all scores are 0, and the weights depend only on how many "
            "rollouts of a group are correct. The paper takes 4 optimizer steps per generation: set "
            f"steps_per_generation={4 * accumulation}."
        )


def start_line(trainer: "REALTrainer", layout: str, rule: LabelRule) -> str:
    """
    What the run does, in one line, such as `packed, prompts shared | 4 prompts × 8 rollouts per optimizer step,
    4 steps per generation | correct = exact > 0.5`.
    """
    group, rows, accumulation, per_generation = batch_numbers(trainer.args)
    if accumulation > per_generation:
        steps = f"{accumulation // per_generation} generations per step"
    else:
        count = per_generation // accumulation
        steps = f"{count} step{'s' if count > 1 else ''} per generation"
    again = f", used {trainer.num_iterations} times" if trainer.num_iterations > 1 else ""
    size = f"{rows * accumulation // group} prompts × {group} rollouts per optimizer step, {steps}{again}"
    return " | ".join((layout, size, f"correct = {_correct(trainer, rule)}", f"TRL {trl.__version__}"))


def _correct(trainer: "REALTrainer", rule: LabelRule) -> str:
    """When a rollout counts as correct, such as `exact + 0.5 × format > 0.5`."""
    if rule.column is not None:
        reward = trainer.reward_func_names[rule.column]
    else:
        named = zip(trainer.reward_func_names, trainer.reward_weights.tolist(), strict=True)
        reward = " + ".join(name if weight == 1 else f"{weight:g} × {name}" for name, weight in named)
    if rule.label_func is not None:
        return f"{name_of(rule.label_func)} of {reward}"
    return f"{reward} > {rule.threshold:g}"
