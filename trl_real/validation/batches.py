"""What is wrong with batch sizes, and the nearest ones with complete groups in every optimizer step and batch."""

import math
from typing import cast

from trl import GRPOConfig


def batch_numbers(args: GRPOConfig, generation_batch_size: int | None = None) -> tuple[int, int, int, int]:
    """
    Rollouts per prompt, and per micro-step on all processes; micro-steps per optimizer step, and per generation.
    `args` may lack what TRL derives; `generation_batch_size` is as the user wrote it.
    """
    rows, accumulation = args.per_device_train_batch_size * args.world_size, args.gradient_accumulation_steps
    steps = max(1, round(generation_batch_size / rows)) if generation_batch_size else args.steps_per_generation
    return cast(int, args.num_generations), rows, accumulation, steps or accumulation


def wrong_batches(args: GRPOConfig, generation_batch_size: int | None) -> str | None:
    """What is wrong with the batch sizes, and which fields to change; `None` if nothing. Arguments as above."""
    group, rows, accumulation, steps = batch_numbers(args, generation_batch_size)
    micro_batch = f"per_device_train_batch_size={args.per_device_train_batch_size} x {args.world_size} processes"
    eval_group = args.num_generations_eval or group
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
    elif args.eval_strategy != "no" and eval_rows % eval_group:
        sentence = f"`per_device_eval_batch_size`: {eval_rows} rollouts per evaluation batch are not a multiple of "
        sentence += f"num_generations_eval={eval_group}."
    if sentence is None:
        return None
    proposal = ", ".join(f"{name}={value}" for name, value in nearest_batches(args, generation_batch_size).items())
    return f"{sentence} Write {proposal}."


def nearest_batches(args: GRPOConfig, generation_batch_size: int | None) -> dict[str, int]:
    """The fields to change, with values near those of the user: as many rollouts per micro-step, or a few more."""
    group, rows, accumulation, steps = batch_numbers(args, generation_batch_size)
    unit = group // math.gcd(group, rows)  # micro-steps that hold complete groups
    fewer = -(-min(accumulation, steps) // unit) * unit
    more = fewer * max(1, round(max(accumulation, steps) / min(accumulation, steps)))
    changed = {"gradient_accumulation_steps": more if accumulation > steps else fewer}
    if generation_batch_size:
        changed["generation_batch_size"] = rows * (fewer if accumulation > steps else more)
    else:
        changed["steps_per_generation"] = fewer if accumulation > steps else more
    if args.eval_strategy != "no":
        eval_group = args.num_generations_eval or group
        unit = eval_group // math.gcd(eval_group, args.world_size)
        changed["per_device_eval_batch_size"] = -(-args.per_device_eval_batch_size // unit) * unit
    return {name: value for name, value in changed.items() if getattr(args, name) != value}
