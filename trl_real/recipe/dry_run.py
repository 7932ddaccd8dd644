"""The plan of a run: the batch arithmetic, an estimate of the memory, the data, and the result of every check."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from transformers import PretrainedConfig

from ..validation.config import ValidationConfig
from .inputs import Inputs
from .memory import GB, estimate_memory, model_size, zero_stage
from .reading import build_options


OVERHEAD_GB = 3  # CUDA, NCCL and the chunked logits
ON_CPU = {"use_cpu": True, "deepspeed": None, "fsdp": None}  # no recipe is refused, since none is trained


def run_checks(checks: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], list[str], bool]:
    """Runs all checks, even if one raises `ValueError` or `OSError`: their results, a line for each, and success."""
    found, lines = {}, []
    for name, check in checks.items():
        try:
            found[name] = check()
            lines.append(f"  ok     {name}")
        except (ValueError, OSError) as error:
            lines.append(f"  FAILS  {name}: {error}")
    return found, lines, len(found) == len(checks)


def describe_batch(options: dict[str, Any], world_size: int, rows: int | None) -> list[str]:
    """The batch arithmetic; `rows` is the number of training prompts, if it is known."""
    group, device = options["num_generations"], options["per_device_train_batch_size"]
    accumulation = options["gradient_accumulation_steps"]
    per_generation = options["steps_per_generation"] or accumulation
    if options["generation_batch_size"]:
        per_generation = options["generation_batch_size"] // (device * world_size)
    per_process = device * per_generation
    rollouts = per_process * world_size
    per_step = device * world_size * accumulation
    steps = per_generation / accumulation * options["num_iterations"]
    lines = [
        f"  generation      {rollouts / group:g} prompts x {group} rollouts = {rollouts:,} rollouts",
        f"  optimizer step  {per_step / group:g} prompts = {per_step:,} rollouts; {steps:g} optimizer steps per "
        "generation",
        f"  micro-step      {device * world_size} rollouts; {accumulation} per optimizer step "
        f"(gradient_accumulation_steps), {per_generation} per generation (steps_per_generation)",
        f"  each process    samples {per_process} rollouts ({_prompts(per_process, group)}), trains {device} at once",
        *_processes(per_process, group, world_size),
    ]
    epochs, total = options["num_train_epochs"], options["max_steps"]
    steps_per_epoch = None
    if rows:
        generations = rows * group // rollouts
        steps_per_epoch = math.floor(generations * steps)
        lines.append(f"  epoch           {rows:,} prompts = {generations:,} generations = {steps_per_epoch:,} steps")
    if total <= 0 and steps_per_epoch is None:
        return [*lines, "  training        unknown without max_steps, since the data set was not read"]
    total = total if total > 0 else math.ceil(epochs * (steps_per_epoch or 0))
    generations = math.ceil(total / steps)
    in_epochs = f", {total / steps_per_epoch:.2f} epochs" if steps_per_epoch else ""
    sampled = f"{generations:,} generations = {generations * rollouts:,} rollouts"
    return [*lines, f"  training        {total:,} optimizer steps = {sampled}{in_epochs}"]


def _prompts(rollouts: int, group: int) -> str:
    number = rollouts / group
    return f"{number:g} prompts" if number != 1 else "1 prompt"


def _processes(rollouts: int, group: int, world_size: int) -> list[str]:
    """The prompts of a generation that each process samples; two processes may share a group."""
    ranges = [(rank * rollouts // group, ((rank + 1) * rollouts - 1) // group) for rank in range(world_size)]
    texts = [f"{rank}: {first}-{last}" for rank, (first, last) in enumerate(ranges)]
    if world_size > 4:
        texts = [*texts[:2], "...", texts[-1]]
    return [f"                  prompts by process: {', '.join(texts)}"] if world_size > 1 else []


def describe_memory(config: PretrainedConfig, options: dict[str, Any], world_size: int) -> tuple[list[str], float]:
    """The memory of each GPU by purpose and at its two peaks, and the higher peak in GB."""
    size = model_size(config, options["lora_r"] if options["use_peft"] else None)
    per_generation = options["steps_per_generation"] or options["gradient_accumulation_steps"]
    rollouts = options["per_device_train_batch_size"] * per_generation
    parts = estimate_memory(size, options, rollouts, world_size)
    lasting = sum(parts[name] for name in ("weights", "gradients", "optimizer", "reference"))
    training = lasting + parts["activations"]
    lines = [f"  model           {size.parameters / 1e9:.2f}e9 parameters, {size.trained / 1e9:.3f}e9 trained"]
    cache = parts.pop("kv_cache")
    lines += [f"  {name:<15} {amount / GB:7.1f} GB" for name, amount in parts.items()]
    where = "on vLLM's GPUs"
    if not options["use_vllm"]:
        generating, where = lasting + cache, "in the generation peak"
    elif options["vllm_mode"] == "server":
        generating = lasting
        lines.append("  vLLM            on its own GPUs (vllm_mode: server)")
    else:
        share = options["vllm_gpu_memory_utilization"] * options["gpu_memory"] * GB
        where, width = "in vLLM's share, if it fits", cache / rollouts
        room = max(0, int((share - 2 * size.parameters) // width))
        generating = lasting + share
        training += 0 if options["vllm_enable_sleep_mode"] else share
        lines.append(
            f"  vLLM            {share / GB:7.1f} GB  (of {options['gpu_memory']:g} GB; besides the model, room for "
            f"about {room} rollouts at full length; the others wait)"
        )
    lines.append(
        f"  training peak   {training / GB + OVERHEAD_GB:7.1f} GB, generation peak "
        f"{generating / GB + OVERHEAD_GB:.1f} GB, each with {OVERHEAD_GB} GB of overhead"
    )
    # Separate from the parts that add up to the peaks: vLLM's share includes it
    lines.append(f"  KV cache: {cache / GB:.1f} GB for {rollouts} rollouts at full length at once, {where}")
    return lines, max(training, generating) / GB + OVERHEAD_GB


def memory_verdict(peak: float, options: dict[str, Any], world_size: int) -> str | None:
    """What to do if a GPU has less memory than the peak, else `None`."""
    if peak <= options["gpu_memory"]:
        return None
    split = "" if zero_stage(options["deepspeed"]) == 3 else "accelerate launch with ZeRO-3, "
    lora = "" if options["use_peft"] else "--use_peft, "
    return (
        f"a GPU needs about {peak:.0f} GB and has {options['gpu_memory']:g} (--gpu_memory). Use more than "
        f"{world_size} GPU{'s' if world_size > 1 else ''}, {split}{lora}a smaller per_device_train_batch_size or "
        "max_completion_length, or vLLM with vllm_enable_sleep_mode"
    )


def describe_data(inputs: Inputs) -> list[str]:
    """The number of prompts, and what cleaning removed."""
    counts = {"train": inputs.train, "eval": inputs.test}
    lines = [f"  {name:<15} {_count(rows)}" for name, rows in counts.items() if rows is not None]
    return lines + [f"  {line}" for report in inputs.reports.values() for line in report.summary().splitlines()]


def _count(rows: Any) -> str:
    return f"{len(rows):,} prompts" if hasattr(rows, "__len__") else "streamed; its length is unknown"


def planned_config(config_class: type[ValidationConfig], world_size: int) -> type[ValidationConfig]:
    """The configuration class with checks for this number of processes, without starting them."""
    members = {"world_size": property(lambda self: world_size), "main_process_first": lambda *_, **__: nullcontext()}
    return type("Planned", (config_class,), members)


def build_planned(options: dict[str, Any], classes: list[Any], world_size: int) -> tuple[Any, ...]:
    """The checked options of a recipe, the trainer and the model, for this number of processes."""
    recipes, config_class, models = classes
    return build_options(options | ON_CPU, [recipes, planned_config(config_class, world_size), models])


def dry_run(title: str, options: dict[str, Any], checks: dict[str, Callable[[], Any]]) -> bool:
    """
    Prints the plan of a run; returns whether all checks passed and the memory suffices.

    `options` are the fields of the recipe with `world_size`. The check `"model"` returns the model's configuration,
    `"data"` its [`Inputs`].
    """
    found, verdicts, passed = run_checks(checks)
    inputs, world_size = found.get("data"), options["world_size"]
    rows = len(inputs.train) if inputs and hasattr(inputs.train, "__len__") else None
    parts = {"Batch": describe_batch(options, world_size, rows)}
    if "model" in found:
        lines, peak = describe_memory(found["model"], options, world_size)
        where = "process" if options["use_cpu"] else "GPU"
        parts[f"Memory of each {where} (estimate)"] = lines
        if not options["use_cpu"]:
            wrong = memory_verdict(peak, options, world_size)
            verdicts.append(f"  FAILS  memory: {wrong}" if wrong else "  ok     memory")
            passed = passed and wrong is None
    if inputs:
        parts["Data"] = describe_data(inputs)
    parts["Checks"] = verdicts
    text = "\n\n".join("\n".join([name, *lines]) for name, lines in parts.items())
    print(f"{title}\n\n{text}")  # noqa: T201
    return passed
