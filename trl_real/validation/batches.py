"""Batch sizes -> what is wrong with them, and the nearest with complete groups in every optimizer step and batch."""

import math

from trl import GRPOConfig


def wrong_batches(args: GRPOConfig, generation_batch_size: int | None) -> str | None:
    """
    What is wrong with the batch sizes and what to write instead, in fields that pass every check; `None` if nothing.

    Args:
        args ([`~trl.GRPOConfig`]):
            Batch sizes. TRL may have refused them, so that not all are derived.
        generation_batch_size (`int`, *optional*):
            As the user wrote it.
    """
    group, rows = args.num_generations, args.per_device_train_batch_size * args.world_size
    micro_batch = f"per_device_train_batch_size={args.per_device_train_batch_size} x {args.world_size} processes"
    accumulation, steps = args.gradient_accumulation_steps, _steps_per_generation(args, generation_batch_size)
    of_eval = args.num_generations_eval or group
    eval_rows = args.per_device_eval_batch_size * args.world_size
    sentence = None
    if generation_batch_size and generation_batch_size % rows:
        sentence = f"`generation_batch_size`: {generation_batch_size} is not a multiple of the {rows} rollouts "
        sentence += f"of a micro-step ({micro_batch})."
    elif rows * steps % group:
        sentence = f"`steps_per_generation`: a generation of {rows * steps} rollouts ({micro_batch} x "
        sentence += f"steps_per_generation={steps}) is not a multiple of num_generations={group}."
    elif accumulation % steps and steps % accumulation:
        sentence = f"`steps_per_generation` ({steps}) must be a multiple or a divisor of "
        sentence += f"`gradient_accumulation_steps` ({accumulation}): an optimizer step takes complete generations or "
        sentence += "an equal part of one."
    elif rows * min(accumulation, steps) % group:
        sentence = f"`gradient_accumulation_steps`: {rows * min(accumulation, steps)} rollouts per optimizer step "
        sentence += f"({micro_batch} x {min(accumulation, steps)} micro-steps) are not a multiple of "
        sentence += f"num_generations={group}, which would split groups."
    elif args.eval_strategy != "no" and eval_rows % of_eval:
        sentence = f"`per_device_eval_batch_size`: {eval_rows} rollouts per batch of evaluation are not a multiple of "
        sentence += f"num_generations_eval={of_eval}."
    if sentence is None:
        return None
    proposal = ", ".join(f"{name}={value}" for name, value in nearest_batches(args, generation_batch_size).items())
    return f"{sentence} Write {proposal}."


def nearest_batches(args: GRPOConfig, generation_batch_size: int | None) -> dict[str, int]:
    """The fields to change, with values near those of the user: as many rollouts per micro-step, or a few more."""
    group, rows = args.num_generations, args.per_device_train_batch_size * args.world_size
    accumulation, steps = args.gradient_accumulation_steps, _steps_per_generation(args, generation_batch_size)
    unit = group // math.gcd(group, rows)  # micro-steps that hold complete groups
    fewer = -(-min(accumulation, steps) // unit) * unit
    more = fewer * max(1, round(max(accumulation, steps) / min(accumulation, steps)))
    changed = {"gradient_accumulation_steps": more if accumulation > steps else fewer}
    if generation_batch_size:
        changed["generation_batch_size"] = rows * (fewer if accumulation > steps else more)
    else:
        changed["steps_per_generation"] = fewer if accumulation > steps else more
    if args.eval_strategy != "no":
        of_eval = args.num_generations_eval or group
        unit = of_eval // math.gcd(of_eval, args.world_size)
        changed["per_device_eval_batch_size"] = -(-args.per_device_eval_batch_size // unit) * unit
    return {name: value for name, value in changed.items() if getattr(args, name) != value}


def _steps_per_generation(args: GRPOConfig, generation_batch_size: int | None) -> int:
    if generation_batch_size:
        return max(1, round(generation_batch_size / (args.per_device_train_batch_size * args.world_size)))
    return args.steps_per_generation or args.gradient_accumulation_steps
