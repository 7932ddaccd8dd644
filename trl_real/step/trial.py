"""Whether a layout computes every rollout as if it were alone, tested on the first rollouts of a run.

How much rounding changes a log-probability depends on the model, its precision, the temperature and the text: 1e-6
nats in float32, 0.1 in bfloat16. So it is measured: the same rows run again with every embedding one rounding step
off. A correct layout changes log-probabilities about as much as that; a row that sees its neighbor changes far more.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .rollouts import Rollout
from .sharing import by_prompt


ROUNDINGS = 4.0  # a layout may change log-probabilities by this multiple of what one rounding step does,
FLOOR = 2e-5  # or by this many nats, root mean square
TF32_STEP = 2.0**-10  # a matrix product in tf32 keeps 10 bits of a float32


def compare(
    tried: Sequence[torch.Tensor], reference: Callable[[], torch.Tensor], mask: torch.Tensor, embedding: nn.Module
) -> torch.Tensor:
    """
    Squared changes of log-probabilities (B, C) by a layout, squared changes by one rounding step, and tokens: `(3,)`.

    `tried` has those of the tested layout, once for each order of the rows. `reference` computes them in a layout that
    is known to be correct, with the model's input `embedding`. `mask` (B, C) is 1 for every token of a completion.
    """

    def squared(change: torch.Tensor) -> torch.Tensor:
        return change.square().where(mask != 0, 0.0).sum()

    expected = reference()
    with perturbed(embedding):
        rounding = reference() - expected
    changes = [squared(logps - expected) for logps in tried]
    worst = max(changes, key=lambda total: total.nan_to_num(torch.inf).item())
    return torch.stack([worst, squared(rounding), mask.sum()])


def passes(totals: torch.Tensor) -> bool:
    """Whether a layout computes the same up to rounding, from the sums `(processes, 3)` of [`compare`]."""
    change, rounding, tokens = totals.sum(dim=0).tolist()
    return (change / tokens) ** 0.5 <= max(FLOOR, ROUNDINGS * (rounding / tokens) ** 0.5)  # false for NaN


@contextmanager
def perturbed(embedding: nn.Module) -> Iterator[None]:
    """The values of the embedding are one rounding step larger and smaller in turn."""

    def hook(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        signs = 1 - 2 * (torch.arange(output.numel(), device=output.device).view_as(output) % 2)
        return output + output * signs * _rounding_step(output)

    handle = embedding.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _rounding_step(values: torch.Tensor) -> float:
    """Relative, in the precision of the matrix products of these values."""
    kind = values.device.type
    if torch.is_autocast_enabled(kind):
        return torch.finfo(torch.get_autocast_dtype(kind)).eps
    products = torch.backends.cuda.matmul
    tf32 = products.fp32_precision == "tf32" if hasattr(products, "fp32_precision") else products.allow_tf32
    return TF32_STEP if values.dtype == torch.float32 and tf32 else torch.finfo(values.dtype).eps


def packing_rows(rollouts: list[Rollout], window: int | None) -> list[Rollout]:
    """Two different rollouts: the shortest, or the longest if only that exceeds the window, and another one."""
    counted = _counted(rollouts)
    slides = window is not None and counted[-1].length > window
    probe = counted[-1] if slides else counted[0]

    def is_copy(row: Rollout) -> bool:
        same_prompt = torch.equal(row.prompt_ids, probe.prompt_ids)
        return same_prompt and torch.equal(row.completion_ids, probe.completion_ids)

    others = (row for row in counted if not is_copy(row))
    return [probe, next(others, replace(probe, completion_ids=probe.completion_ids.flip(0)))]


def sharing_rows(rollouts: list[Rollout]) -> list[Rollout]:
    """Two different rollouts of each of two prompts; invented if there are too few."""
    counted = _counted(rollouts)
    families = []
    for family in by_prompt(counted, lambda rollout: rollout.prompt_key):
        others = (row for row in family if not torch.equal(row.completion_ids, family[0].completion_ids))
        if len(family[0].prompt_ids) > 1 and (other := next(others, None)):  # a prompt of one token has no prefix
            families.append([family[0], other])
    if len(families) > 1:
        families.sort(key=lambda family: family[1].length)
        return [*families[0], *families[1]]
    first, other = packing_rows(rollouts, window=None)
    prompt = first.prompt_ids if len(first.prompt_ids) > 1 else first.prompt_ids.repeat(2)
    prompts = {0: prompt, 1: torch.cat([prompt, first.completion_ids[:1]]).flip(0)}
    return [
        replace(row, prompt_key=key, prompt_ids=ids, completion_ids=completion, mask=torch.ones_like(completion))
        for key, ids in prompts.items()
        for row, completion in ((first, first.completion_ids), (other, other.completion_ids.flip(0)))
    ]


def _counted(rollouts: list[Rollout]) -> list[Rollout]:
    """By length, with every token counted."""
    return sorted((replace(row, mask=torch.ones_like(row.mask)) for row in rollouts), key=lambda row: row.length)
