"""One generation under DeepSpeed ZeRO-3, configured as in the recipes. Several processes."""

import math
from pathlib import Path

import torch

from ...recipe.launch import end_processes, prepare_deepspeed
from ...recipe.shipped import recipes_folder
from ..machine import gpus
from ..models import LARGE, SMALL
from ..outcome import Outcome, judged
from ..training import build_trainer


def check(folder: Path) -> Outcome:
    """The gradient has to be a number, and the parameters have to move."""
    configured = str(recipes_folder() / "accelerate" / "zero3.json")
    prepare_deepspeed({"deepspeed": configured, "use_cpu": not gpus()})
    trainer = build_trainer(folder, LARGE if gpus() else SMALL, deepspeed=configured)
    before = head(trainer.model)
    trainer.train()
    moved = (head(trainer.model) - before).abs().max().item()
    norms = [float(entry["grad_norm"]) for entry in trainer.state.log_history if "grad_norm" in entry]
    processes = trainer.accelerator.num_processes
    peaks = {"peak_gigabytes": torch.cuda.max_memory_allocated() / 1e9} if gpus() else {}
    end_processes(trainer.accelerator)
    passed = len(norms) == 2 and all(map(math.isfinite, norms)) and max(norms) > 0 and 0 < moved < math.inf
    said = f"{processes} process{'es' * (processes > 1)}: gradient norms {', '.join(f'{norm:.2g}' for norm in norms)}"
    return judged(
        passed, f"{said}; weights moved by {moved:.1e}", norms=norms, moved=moved, processes=processes, **peaks
    )


def head(model: torch.nn.Module) -> torch.Tensor:
    """A whole copy of the last layer, which every process has a part of."""
    import deepspeed

    weight = model.get_output_embeddings().weight
    with deepspeed.zero.GatheredParameters([weight]):
        return weight.detach().float().cpu().clone()
