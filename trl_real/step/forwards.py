"""Models and laid-out rollouts -> log-probabilities and entropies of the completion tokens.

In: one forward's rollouts (`layouts.py`). Out: values `(B, C)` under the policy or the reference. Left out: which
rollouts are run and when (`planning.py`, `loss.py`), what keeps packed rows apart (`attention.py`).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from ..compat import use_adapter
from ..engines.backwards import is_reentrant
from .attention import packed_attention, row_boundaries
from .layouts import MicroBatch, PackedBatch, SharedBatch
from .prefix_attention import Prefixes
from .regularizers import balance_losses, capture_router_logits


class Forwards:
    """
    Runs batches through the policy and the reference.

    Args:
        policy (`nn.Module`):
            The language model in training, with TRL's fused head: `model(..., fused_lm_head=True)` gives `log_probs`
            and `entropy`.
        reference (`nn.Module`, *optional*):
            The reference model. `None`: the policy without its adapter.
        accelerator ([`~accelerate.Accelerator`]):
            Its precision and processes.
    """

    def __init__(self, policy: Any, reference: Any, accelerator: Accelerator):
        self.policy, self.reference, self.accelerator = policy, reference, accelerator
        self.may_share = True  # until it is known that no prompt is shared

    def models(self) -> list[nn.Module]:
        """The policy, and the reference if it is a model of its own."""
        return [self.policy] + ([] if self.reference is None else [self.accelerator.unwrap_model(self.reference)])

    def attention(self, batch: MicroBatch) -> AbstractContextManager[None]:
        """Must hold a backward through the policy, which may recompute the forwards."""
        return self._attention(self.policy, batch)

    def for_loss(
        self, model: Any, batch: MicroBatch, balances: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and entropies (B, C); if asked for, the MoE balance loss of every rollout (B,)."""
        if not balances:
            return *self._run(model, batch), None
        config = self.policy.config.get_text_config()
        with capture_router_logits(self.policy) as captured:
            logps, entropies = self._run(model, batch, output_router_logits=True)
        if torch.is_grad_enabled() and not captured[0][-1].requires_grad and is_reentrant(self.policy):
            raise ValueError(
                "`router_aux_loss_coef`: reentrant checkpointing leaves the balance loss without a gradient. Write "
                "gradient_checkpointing_kwargs={'use_reentrant': False}; or, with an adapter under ZeRO-3, for which "
                "TRL insists on it, gradient_checkpointing=False or router_aux_loss_coef=0."
            )
        return logps, entropies, balance_losses(captured[0], batch, config.num_experts, config.num_experts_per_tok)

    @torch.no_grad()
    def policy_logps(self, batch: MicroBatch) -> torch.Tensor:
        """Log-probabilities (B, C) under the policy as it is, without gradient."""
        return self._run(self.policy, batch)[0]

    @torch.no_grad()
    def reference_logps(self, batch: MicroBatch) -> torch.Tensor:
        """Log-probabilities under the reference model, or under the policy without its adapter (or with its first)."""
        if self.reference is not None:
            return self._run(self.reference, batch)[0]
        model = self.accelerator.unwrap_model(self.policy)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            return self.policy_logps(batch)

    def _run(self, model: Any, batch: MicroBatch, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies (B, C) of the completion tokens."""
        plain = self.accelerator.unwrap_model(model) if model is self.reference else self.policy
        if isinstance(batch, PackedBatch):
            options |= row_boundaries(plain, batch.row_lengths, batch.input_ids.device)
        if isinstance(batch, SharedBatch):
            options["prefixes"] = Prefixes(batch.row_lengths, batch.prefix_of)
        with self._attention(plain, batch), self.accelerator.autocast():
            output = model(**batch.model_inputs, fused_lm_head=True, **options)
        return batch.unpack(output.log_probs), batch.unpack(output.entropy) if output.entropy is not None else None

    def _attention(self, model: Any, batch: MicroBatch) -> AbstractContextManager[None]:
        return packed_attention(model, self.may_share) if isinstance(batch, PackedBatch) else nullcontext()
