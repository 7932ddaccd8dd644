"""
The program of the cases that train: a tiny model with vLLM, as a user's script would.

    python -m tests_vllm.train_case FOLDER '{"options": {...}, "lora": false}'

The folder gets what the probe saw (`plugin/engines_probe.py`) and the log, with whether the frozen base is as it was.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from tests.support.tiny import prompts_dataset
from tests.support.trainers import config, even_start, save_tiny_model, tiny_llama
from trl_real import REALTrainer
from trl_real.recipe.launch import prepare_deepspeed


def prepare_model(folder: Path) -> str:
    """A tiny Llama whose heads are large enough for vLLM."""
    return save_tiny_model(folder / "model", tiny_llama(hidden_size=64, max_position_embeddings=64))


def frozen_weights(trainer: REALTrainer) -> dict[str, torch.Tensor]:
    """Whole copies, also where ZeRO-3 has given each process a part."""
    frozen = {name: weight for name, weight in trainer.model.named_parameters() if not weight.requires_grad}
    with trainer.vllm_generation._dist.gather_params(list(frozen.values())):
        return {name: weight.detach().clone() for name, weight in frozen.items()}


def main(folder: Path, options: dict[str, Any], lora: bool) -> None:
    if options.get("vllm_mode") == "server":
        import engines_gloo
        import engines_probe

        engines_gloo.join_over_gloo()
        engines_probe.watch()  # elsewhere vLLM's plugin does it
    prepare_deepspeed({"deepspeed": None, "use_cpu": True} | options)
    peft = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear") if lora else None
    defaults = dict(use_vllm=True, vllm_max_model_length=64, vllm_gpu_memory_utilization=0.1)
    defaults |= dict(lr_scheduler_type="constant")
    args, data = config(folder, **defaults | options), (prompts_dataset(16), prompts_dataset(12))
    trainer = REALTrainer(str(folder / "model"), even_start, args, *data, peft_config=peft)
    before = frozen_weights(trainer)
    trainer.train()
    if trainer.args.load_best_model_at_end:
        trainer.evaluate(metric_key_prefix="after")
    after = frozen_weights(trainer)
    kept = [torch.equal(before[name], after[name]) for name in after]
    if trainer.accelerator.is_main_process:
        seen = {"log": trainer.state.log_history, "frozen": len(kept), "kept": sum(kept)}
        (folder / "seen.json").write_text(json.dumps(seen), "utf-8")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    asked = json.loads(sys.argv[2])
    main(Path(sys.argv[1]), asked.get("options", {}), asked.get("lora", False))
