"""Models and laid-out rollouts -> log-probabilities and entropies of the completion tokens, `(B, C)`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator

from ..compat import load_balancing_loss_func, use_adapter
from ..engines.backwards import is_reentrant
from .attention import Prefixes, packed_attention, row_boundaries
from .layouts import MicroBatch, PackedBatch, SharedBatch


class Forwards:
    """
    Runs batches through the policy and the reference, with the precision and processes of the accelerator.

    The policy is the language model in training, with TRL's fused head: `model(..., fused_lm_head=True)` returns
    `log_probs` and `entropy`. A reference of `None` is the policy without its adapter.
    """

    def __init__(self, policy: Any, reference: Any, accelerator: Accelerator):
        self.policy, self.reference, self.accelerator = policy, reference, accelerator
        self.may_share = True  # until it is known that no prompt is shared

    def models(self) -> list[Any]:
        """The policy, and the reference if it is a separate model."""
        return [self.policy] + ([] if self.reference is None else [self.accelerator.unwrap_model(self.reference)])

    def attention(self, batch: MicroBatch, model: Any = None) -> AbstractContextManager[None]:
        """Must contain a forward of the model, by default the policy, and a backward, which may recompute forwards."""
        model = self.policy if model is None else model
        return packed_attention(model, self.may_share) if isinstance(batch, PackedBatch) else nullcontext()

    def for_loss(
        self, model: Any, batch: MicroBatch, balances: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and entropies (B, C); if asked for, the MoE balance loss of every rollout (B,)."""
        if not balances:
            output = self._run(model, batch)
            return batch.unpack(output.log_probs), batch.unpack(output.entropy), None
        config = self.policy.config.get_text_config()
        with capture_router_logits(self.policy) as captured:
            output = self._run(model, batch, output_router_logits=True)
        if torch.is_grad_enabled() and not captured[0][-1].requires_grad and is_reentrant(self.policy):
            raise ValueError(
                "`router_aux_loss_coef`: reentrant checkpointing leaves the balance loss without a gradient. Write "
                "gradient_checkpointing_kwargs={'use_reentrant': False}; or, with an adapter under ZeRO-3, for which "
                "TRL requires it, gradient_checkpointing=False or router_aux_loss_coef=0."
            )
        balance = balance_losses(captured[0], batch, config.num_experts, config.num_experts_per_tok)
        return batch.unpack(output.log_probs), batch.unpack(output.entropy), balance

    @torch.no_grad()
    def policy_logps(self, batch: MicroBatch) -> torch.Tensor:
        """Log-probabilities (B, C) under the current policy, without gradient."""
        return batch.unpack(self._run(self.policy, batch).log_probs)

    @torch.no_grad()
    def reference_logps(self, batch: MicroBatch) -> torch.Tensor:
        """Log-probabilities under the reference model, or under the policy without its adapter (or with its first)."""
        if self.reference is not None:
            return batch.unpack(self._run(self.reference, batch).log_probs)
        model: Any = self.accelerator.unwrap_model(self.policy)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            return self.policy_logps(batch)

    def _run(self, model: Any, batch: MicroBatch, **options: Any) -> Any:
        """The output of the model: log-probabilities and, if it is the policy, entropies."""
        plain: Any = self.accelerator.unwrap_model(model) if model is self.reference else self.policy
        if isinstance(batch, PackedBatch):
            options |= row_boundaries(plain, batch.row_lengths, batch.input_ids.device)
        if isinstance(batch, SharedBatch):
            options["prefixes"] = Prefixes(batch.row_lengths, batch.prefix_of)
        with self.attention(batch, plain), self.accelerator.autocast():
            return model(**batch.model_inputs, fused_lm_head=True, **options)


@contextmanager
def capture_router_logits(model: Any) -> Iterator[list[tuple[torch.Tensor, ...]]]:
    """Collect the router logits that a Mixture-of-Experts model returns inside this context, one entry per forward."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    captured: list[tuple[torch.Tensor, ...]] = []
    handle = base.base_model.register_forward_hook(lambda module, args, output: captured.append(output.router_logits))
    try:
        yield captured
    finally:
        handle.remove()


def balance_losses(
    router_logits: tuple[torch.Tensor, ...], batch: MicroBatch, num_experts: int, num_experts_per_tok: int
) -> torch.Tensor:
    """
    Load-balancing loss (B,) of every rollout by itself, since that of a batch depends on the batching. `router_logits`
    has one tensor per layer, with a row for every token of the forward.
    """
    rollouts = zip(*(batch.split(layer) for layer in router_logits), strict=True)
    losses = (load_balancing_loss_func(layers, num_experts, num_experts_per_tok) for layers in rollouts)
    return torch.stack([torch.as_tensor(loss) for loss in losses])
