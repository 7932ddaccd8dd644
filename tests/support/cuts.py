"""Trains fixed rollouts under a given batch cut and returns the parameters. As a script, under torchrun: many cuts."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch.distributed.tensor import DTensor

from tests.support.processes import end_group
from tests.support.tiny import (
    QUIET,
    fixed_reward,
    fixed_rollouts,
    graded_reward,
    prompts_dataset,
    tiny_model,
    tiny_moe,
    tiny_tokenizer,
)
from trl_real import REALConfig, REALTrainer


GROUP = 4
ROWS = 16  # rollouts of an optimizer step


def trainer_for(
    cut: dict[str, Any],
    trainer_class: type[REALTrainer] = REALTrainer,
    output_dir: str | None = None,
    reward_func: Callable = fixed_reward,
) -> REALTrainer:
    """
    A trainer on fixed rollouts.

    `cut` has `batch` (per device), `steps` (optimizer steps per generation) and `options` (fields of REALConfig), and
    may ask for `lora` (or another `peft` configuration), `lora_scale` (of its weights), `moe`, `env_mask`, `graded`
    (rewards), `checkpointing`, `prompts` and `eval` (counts), `path` (of a saved model), `build` (what makes the
    model) and `rollout_func`.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    accumulation = cut.get("accumulation", ROWS // (cut["batch"] * processes))
    options = QUIET | dict(
        output_dir=output_dir or tempfile.gettempdir(),
        per_device_train_batch_size=cut["batch"],
        gradient_accumulation_steps=accumulation,
        num_generations=GROUP,
        steps_per_generation=cut.get("per_generation", accumulation * cut.get("steps", 4)),
        max_steps=cut.get("max_steps", 6),  # with 4 per generation: into the second one
        adam_epsilon=1e-5,  # a gradient of rounding noise must not become a full step
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        seed=1,
        gradient_checkpointing=cut.get("checkpointing", False),
    )
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if cut.get("lora") else None
    peft = cut.get("peft", lora)
    torch.manual_seed(7)
    trainer = trainer_class(
        model=cut["path"] if "path" in cut else cut.get("build", tiny_moe if cut.get("moe") else tiny_model)(),
        reward_funcs=graded_reward if cut.get("graded") else reward_func,
        args=REALConfig(**options | cut.get("options", {})),
        train_dataset=prompts_dataset(cut.get("prompts", 32)),
        eval_dataset=prompts_dataset(cut["eval"]) if "eval" in cut else None,
        processing_class=tiny_tokenizer(),
        rollout_func=cut.get("rollout_func") or fixed_rollouts(cut.get("env_mask", False)),
        peft_config=peft,
    )
    if lora:  # both factors away from zero, the same in every cut
        generator = torch.Generator().manual_seed(11)
        for _, parameter in sorted(trainer.model.named_parameters()):
            if parameter.requires_grad:
                values = cut.get("lora_scale", 0.3) * torch.randn(parameter.shape, generator=generator)
                parameter.data = values.to(parameter.dtype)
    return trainer


def parameters(trainer: REALTrainer) -> dict[str, torch.Tensor]:
    """The trained parameters, gathered under ZeRO-3 and FSDP2."""
    named = [(name, p) for name, p in trainer.model.named_parameters() if p.requires_grad]
    with trainer._dist.gather_params([p for _, p in named]):
        whole = [(name, p.full_tensor() if isinstance(p, DTensor) else p) for name, p in named]
        return {name: p.detach().clone() for name, p in whole}


def train_cut(
    cut: dict[str, Any], trainer_class: type[REALTrainer] = REALTrainer
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Parameters after training under this cut, and the log."""
    trainer = trainer_for(cut, trainer_class)
    trainer.train()
    return parameters(trainer), trainer.state.log_history


def main(cuts_file: str | Path, output_file: str | Path, trainer_class: type[REALTrainer] = REALTrainer) -> None:
    """Train every cut of a JSON list; the main process saves the results."""
    results = [train_cut(cut, trainer_class) for cut in json.loads(Path(cuts_file).read_text())]
    if os.environ.get("RANK", "0") == "0":
        torch.save(results, output_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_group()
