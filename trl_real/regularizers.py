"""Terms that a user may add to the objective: KL to a target policy, entropy bonus, MoE load balance.

Each is a mean over the rollouts of an optimizer step of a mean over the rollout's own tokens, in the spirit of Eq. 5,
so that it does not depend on how the step is cut into micro-batches.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func


def per_token_kl(per_token_logps: torch.Tensor, target_per_token_logps: torch.Tensor) -> torch.Tensor:
    """TRL's KL estimator, e^d − d − 1 with d = log π_target − log π_θ, of the shape of its inputs. Never negative."""
    difference = target_per_token_logps - per_token_logps
    return difference.exp() - difference - 1


def rollout_means(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, C) values over each rollout's counted tokens, (B,); 0 for a rollout with none."""
    return values.masked_fill(mask == 0, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)


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
    router_logits: tuple[torch.Tensor, ...], attention_mask: torch.Tensor, num_experts: int, num_experts_per_tok: int
) -> torch.Tensor:
    """
    Load-balancing loss of every rollout by itself.

    The loss of a whole batch is not a sum over its rows, so it changes with the cut; that of a single rollout does
    not.

    Args:
        router_logits (`tuple` of `torch.Tensor` of shape `(B * T, num_experts)`):
            One per layer.
        attention_mask (`torch.Tensor` of shape `(B, T)`):
            1 for real tokens.

    Returns:
        `torch.Tensor` of shape `(B,)`.
    """
    batch, tokens = attention_mask.shape
    layers = [layer.view(batch, tokens, -1) for layer in router_logits]
    return torch.stack(
        [
            load_balancing_loss_func(
                tuple(layer[row] for layer in layers), num_experts, num_experts_per_tok, attention_mask[row : row + 1]
            )
            for row in range(batch)
        ]
    )
