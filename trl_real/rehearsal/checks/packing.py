"""
Rollouts packed one after another, and behind a prompt computed once, have the log-probabilities that each has alone,
for each kind of attention.
"""

from pathlib import Path

import torch

from ...step.layouts import pack_rollouts, pad_rollouts, share_prompts
from ...step.rollouts import Rollout
from ..machine import gpus
from ..models import LARGE, SMALL, Size
from ..outcome import Outcome, judged
from ..training import build_trainer


# In nats: rounding of float32, and of bfloat16 in kernels of another shape
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
ROWS = 6


def sdpa(folder: Path) -> Outcome:
    """PyTorch's own."""
    return compare(folder, "sdpa")


def flash_attention_2(folder: Path) -> Outcome:
    """Of the package flash-attn."""
    return compare(folder, "flash_attention_2")


def compare(folder: Path, attention: str) -> Outcome:
    """The largest distance of a token's log-probability, with the length of the rows all different."""
    size = LARGE if gpus() else SMALL
    trainer = build_trainer(folder, size, attention, pack_rollouts=True)
    trainer.model.to(trainer.accelerator.device).eval()
    rows = rollouts(size, trainer.accelerator.device)
    forwards = trainer._phase.forwards
    layouts = [forwards.policy_logps(layout(rows, pad_token_id=0)) for layout in (pack_rollouts, share_prompts)]
    gaps = []
    for row, *together in zip(rows, *layouts, strict=True):
        alone = forwards.policy_logps(pad_rollouts([row], pad_token_id=0))[0]
        gaps += [(alone - logps[: len(alone)]).abs() for logps in together]
    gap, mean = torch.cat(gaps).max().item(), torch.cat(gaps).mean().item()
    precision = torch.bfloat16 if trainer.args.bf16 else torch.float32
    said = f"{gap:.1e} nats apart (at most {TOLERANCE[precision]:.0e} in {str(precision).removeprefix('torch.')})"
    return judged(gap <= TOLERANCE[precision], said, largest=gap, mean=mean, attention=attention)


def rollouts(size: Size, device: torch.device) -> list[Rollout]:
    """Random tokens, of lengths up to the longest, two behind every prompt."""
    generator = torch.Generator().manual_seed(0)

    def draw(longest: int, row: int) -> torch.Tensor:
        length = max(1, longest * (row + 1) // ROWS)
        return torch.randint(2, size.vocabulary, (length,), generator=generator).to(device)

    prompts = [draw(size.prompt, row) for row in range(1, ROWS, 2)]
    completions = [draw(size.completion, row) for row in range(ROWS)]
    return [
        Rollout(row, prompts[row // 2], completion, torch.ones_like(completion), prompt_key=row // 2)
        for row, completion in enumerate(completions)
    ]
