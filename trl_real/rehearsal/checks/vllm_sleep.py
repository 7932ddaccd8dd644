"""vLLM in the process of the trainer, asleep while the model trains, samples what the model of that moment says."""

from pathlib import Path

import torch

from ...step.layouts import pad_rollouts
from ...step.rollouts import Rollout
from ...trainer import REALTrainer
from ..machine import gpus
from ..models import LARGE, SMALL
from ..outcome import Outcome, judged
from ..training import build_trainer


# In nats, the largest and the mean: rounding of float32, and of bfloat16 by kernels that round elsewhere
TOLERANCE = {torch.float32: (1e-4, 1e-5), torch.bfloat16: (0.5, 0.03)}
STALE = 3  # so many times further away must be the policy before the training


def check(folder: Path) -> Outcome:
    """
    The distance of vLLM's log-probabilities from those of the trained policy, and from those of the one it began with:
    a vLLM that woke up with old weights, or with none, is as far from the former as from the latter, or further.
    """
    size = LARGE if gpus() else SMALL
    longest = dict(vllm_max_model_length=size.prompt + size.completion, vllm_gpu_memory_utilization=0.3)
    trainer = build_trainer(
        folder, size, use_vllm=True, vllm_mode="colocate", vllm_enable_sleep_mode=True, max_steps=4, **longest
    )
    begun = {name: value.detach().cpu().clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    rows, said = sample(trainer)
    gaps = distance(trainer, rows, said)
    trainer.model.load_state_dict(begun)
    moved = distance(trainer, rows, said).mean().item()
    precision = torch.bfloat16 if trainer.args.bf16 else torch.float32
    most, usual = TOLERANCE[precision]
    gap, mean = gaps.max().item(), gaps.mean().item()
    text = f"{gap:.1e} nats apart, {mean:.1e} on average (at most {most:.0e} and {usual:.0e} in "
    text += f"{str(precision).removeprefix('torch.')}), {moved:.1e} from the policy before"
    passed = gap <= most and mean <= usual and moved > STALE * mean
    return judged(passed, text, largest=gap, mean=mean, moved=moved, tokens=len(gaps))


def sample(trainer: REALTrainer) -> tuple[list[Rollout], list[list[float]]]:
    """Rollouts, and what vLLM, which is sent the weights when it wakes up, says of their tokens."""
    texts = [row["prompt"] for row in trainer.train_dataset.select(range(16))]
    asked = trainer.processing_class(texts)["input_ids"]
    prompts, completions, logps, _ = trainer.vllm_generation.generate(asked, None, num_generations=1)
    device = trainer.accelerator.device
    tensors = [
        tuple(torch.tensor(ids, device=device) for ids in pair) for pair in zip(prompts, completions, strict=True)
    ]
    rows = [Rollout(row, *pair, torch.ones_like(pair[1]), prompt_key=row) for row, pair in enumerate(tensors)]
    return rows, [[token[0] for token in row] for row in logps]


def distance(trainer: REALTrainer, rows: list[Rollout], said: list[list[float]]) -> torch.Tensor:
    """Of every sampled token, in nats, from the model as it is; `(N,)`."""
    trainer.model.eval()
    logps = trainer._phase.forwards.policy_logps(pad_rollouts(rows, pad_token_id=0)).cpu()
    return torch.cat(
        [(ours[: len(theirs)] - torch.tensor(theirs)).abs() for ours, theirs in zip(logps, said, strict=True)]
    )
