"""Evaluates sets of every small size under several batches. `main`: the same on the processes of a launcher."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.support.cuts import trainer_for
from tests.support.tiny import fixed_reward, fixed_rollouts, prompts_dataset, tiny_model, tiny_tokenizer
from trl_real import REALTrainer
from trl_real.validation.config import ValidationConfig
from trl_real.validation.trainer import ValidatingTrainer


# Rollouts of a prompt, and at once: 3 do not go evenly on two processes, so there prompts fill up the last batch
BATCHES = {3: (3, 9), 4: (2, 12)}
SIZES = range(1, 8)
TIMES = ("_runtime", "_per_second", "_time")


def real(samples: int, processes: int) -> REALTrainer:
    options = dict(num_generations_eval=samples, beta=0.1)
    return trainer_for(dict(batch=8 // processes, lora=True, env_mask=True, options=options))


def baseline(samples: int, processes: int) -> ValidatingTrainer:
    options = dict(per_device_train_batch_size=8 // processes, num_generations=4, num_generations_eval=samples)
    options |= dict(use_cpu=True, bf16=False, report_to="none", output_dir=tempfile.gettempdir())
    return ValidatingTrainer(
        model=tiny_model(),
        reward_funcs=fixed_reward,
        args=ValidationConfig(**options),
        train_dataset=prompts_dataset(8),
        processing_class=tiny_tokenizer(),
        rollout_func=fixed_rollouts(),
    )


def metrics(
    trainer: ValidatingTrainer, samples: int, sizes: range, batches: tuple[int, ...], processes: int
) -> dict[str, dict[str, Any]]:
    """The metrics of each set in each batch that so many processes can run, without the times."""
    found = {}
    for batch in batches:
        if batch * processes % samples:
            continue
        trainer.args.per_device_eval_batch_size = batch
        for size in sizes:
            result = trainer.evaluate(prompts_dataset(size))
            kept = {name: value for name, value in result.items() if not name.endswith(TIMES)}
            found[f"{size} prompts, {batch} rollouts at once"] = kept
    return found


def main(output: Path) -> None:
    processes = int(os.environ["WORLD_SIZE"])
    results = {
        (build.__name__, samples): metrics(build(samples, processes), samples, SIZES, batches, processes)
        for build in (real, baseline)
        for samples, batches in BATCHES.items()
    }
    if os.environ["RANK"] == "0":
        torch.save(results, output)
