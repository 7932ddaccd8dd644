"""Terms that a user may add to the objective: KL to a target policy, entropy bonus, MoE load balance.

Each is a mean over the rollouts of an optimizer step of a mean over the rollout's own tokens, in the spirit of Eq. 5,
so that it does not depend on how the step is cut into micro-batches.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ..compat import load_balancing_loss_func
from .layouts import MicroBatch, PackedBatch, PaddedBatch


def per_token_kl(per_token_logps: torch.Tensor, target_per_token_logps: torch.Tensor) -> torch.Tensor:
    """TRL's KL estimator, e^d − d − 1 with d = log π_target − log π_θ, of the shape of its inputs. Never negative."""
    difference = target_per_token_logps - per_token_logps
    return difference.exp() - difference - 1


def rollout_means(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, C) values over each rollout's counted tokens, (B,); 0 for a rollout with none."""
    return values.masked_fill(mask == 0, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)


@dataclass(frozen=True)
class Regularizers:
    """
    What is added to the objective, and how much of it.

    Args:
        beta (`float`):
            Weight of the KL term.
        kl_target (`str`):
            `"ref"` or `"old"`.
        bias_correction (`bool`):
            Whether the KL of a token is multiplied by its importance ratio (`use_bias_correction_kl`).
        balance_coef (`float`):
            Weight of the MoE balance loss.
    """

    beta: float = 0.0
    kl_target: str = "ref"
    bias_correction: bool = False
    balance_coef: float = 0.0

    @property
    def reads_reference(self) -> bool:
        """Whether log-probabilities under the reference are needed."""
        return self.beta != 0.0 and self.kl_target == "ref"

    @property
    def balances(self) -> bool:
        """Whether the load of experts is balanced."""
        return self.balance_coef != 0.0

    def terms(
        self,
        batch: MicroBatch,
        logps: torch.Tensor,
        old_logps: torch.Tensor,
        entropies: torch.Tensor,
        balance: torch.Tensor | None,
        entropy_coef: float,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """
        Sum of the weighed terms over the rollouts of a forward, and the sums that are logged of them.

        Args:
            batch ([`MicroBatch`]):
                The B rollouts.
            logps, old_logps, entropies (`torch.Tensor` of shape `(B, C)`):
                Of the completion tokens: under the policy, under the one that generated, and of the policy. Zero where
                a token does not count, as [`MicroBatch.unpack`] leaves them.
            balance (`torch.Tensor` of shape `(B,)`, *optional*):
                From [`balance_losses`].
            entropy_coef (`float`):
                Weight of the entropy bonus.
        """
        terms, sums = logps.new_zeros(()), {}
        if self.beta != 0.0:
            kl = per_token_kl(logps, old_logps if self.kl_target == "old" else batch.padded("ref_per_token_logps"))
            if self.bias_correction:
                kl = kl * (logps - old_logps).exp()
            terms = terms + self.beta * rollout_means(kl, batch.mask).sum()
            sums["kl"] = kl.sum()
        if entropy_coef != 0.0:
            terms = terms - entropy_coef * rollout_means(entropies, batch.mask).sum()
        if balance is not None:
            counted = batch.mask.any(dim=1)
            terms = terms + self.balance_coef * (balance * counted).sum()
            sums |= {"aux_loss": (balance * counted).sum(), "rollouts": counted.sum()}
        return terms, sums


@contextmanager
def capture_router_logits(model: nn.Module) -> Iterator[list[tuple[torch.Tensor, ...]]]:
    """Collect the router logits that a Mixture-of-Experts model returns inside this context, one entry per forward."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    captured: list[tuple[torch.Tensor, ...]] = []
    handle = base.base_model.register_forward_hook(lambda module, args, output: captured.append(output.router_logits))
    try:
        yield captured
    finally:
        handle.remove()


def balance_losses(
    router_logits: tuple[torch.Tensor, ...],
    batch: PaddedBatch | PackedBatch,
    num_experts: int,
    num_experts_per_tok: int,
) -> torch.Tensor:
    """
    Load-balancing loss of every rollout by itself.

    The loss of a whole batch is not a sum over its rows, so it changes with the cut; that of a single rollout does
    not.

    Args:
        router_logits (`tuple` of `torch.Tensor`):
            One per layer, with a row for every token of the forward.
        batch ([`MicroBatch`]):
            The B rollouts.

    Returns:
        `torch.Tensor` of shape `(B,)`.
    """
    rollouts = zip(*(batch.split(layer) for layer in router_logits), strict=True)
    return torch.stack([load_balancing_loss_func(layers, num_experts, num_experts_per_tok) for layers in rollouts])
