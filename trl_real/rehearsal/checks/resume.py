"""A training that goes on from a checkpoint ends as one that was never interrupted."""

import os
from pathlib import Path

import torch

from ...trainer import REALTrainer
from ..machine import gpus
from ..models import SMALL
from ..outcome import Outcome, judged
from ..training import build_trainer


STEPS, INTERRUPTED = 4, 2
# Share of what the weights move after the checkpoint; kernels of a GPU need not add in the same order twice
TOLERANCE = 0.05


def check(folder: Path) -> Outcome:
    """Bit by bit on a CPU; on a GPU within the tolerance, where not every kernel can be made to repeat itself."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read with the first product
    torch.use_deterministic_algorithms(True, warn_only=True)
    whole = build_trainer(folder, SMALL, max_steps=STEPS, save_strategy="steps", save_steps=INTERRUPTED)
    whole.train()
    checkpoint = str(folder / "run" / f"checkpoint-{INTERRUPTED}")
    resumed = build_trainer(folder, SMALL, max_steps=STEPS, output_dir=str(folder / "resumed"))
    resumed.train(resume_from_checkpoint=checkpoint)
    ended, again = parameters(whole), parameters(resumed)
    halfway = parameters(whole, checkpoint)
    share = ((ended - again).abs().mean() / (ended - halfway).abs().mean()).item()
    same = torch.equal(ended, again)
    passed = bool(ended.isfinite().all()) and (same or (gpus() > 0 and share <= TOLERANCE))
    said = "bit-identical" if same else f"off by {share:.2%} of what the weights move"
    if gpus() and not same:
        said += f" (at most {TOLERANCE:.0%} on a GPU)"
    return judged(passed, f"{said}, {STEPS - INTERRUPTED} steps after the checkpoint", identical=same, share=share)


def parameters(trainer: REALTrainer, checkpoint: str | None = None) -> torch.Tensor:
    """All of a trainer, or those of one of its checkpoints, one after another."""
    model = type(trainer.model).from_pretrained(checkpoint, dtype="float32") if checkpoint else trainer.model
    return torch.cat([weight.detach().cpu().flatten() for _, weight in sorted(model.named_parameters())])
