"""Forwards over single rollouts, packed one after another or padded.

In: rollouts (`update/rollouts.py`). Out: their log-probabilities and entropies under the policy or the reference,
laid out by `update/micro_batches.py`. Left out: which rollouts are run and when (`planning.py`, `loss.py`), and why
packed rows stay apart (`update/packing.py`).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate.logging import get_logger
from trl import GRPOTrainer

from ..compat import disable_gradient_checkpointing, use_adapter
from ..update.micro_batches import MicroBatch, PackedBatch, pack_rollouts, pad_rollouts
from ..update.packing import obstacle, packed_attention, row_boundaries, rows_are_apart
from ..update.regularizers import balance_losses, capture_router_logits
from ..update.rollouts import Rollout


logger = get_logger(__name__)


class Forwards:
    """
    Runs rollouts through the models of a trainer.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Its models, settings and processes are used; nothing in it is changed.

    Raises:
        `ValueError`: If `pack_rollouts` is true for a model that cannot be run so.
    """

    def __init__(self, trainer: GRPOTrainer):
        self.trainer = trainer
        self.packs = self._may_pack()  # `None` until the first rollouts have told

    def collate(self, rollouts: list[Rollout]) -> MicroBatch:
        """The rollouts of one forward, packed where the model can keep them apart."""
        layout = pack_rollouts if self.packs else pad_rollouts
        return layout(rollouts, self.trainer._tokenizer.pad_token_id, self.trainer.pad_to_multiple_of)

    def attention(self) -> AbstractContextManager[None]:
        """Must hold a backward, which may recompute the forward."""
        return packed_attention(self.trainer.model) if self.packs else nullcontext()

    def for_loss(self, model: Any, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and entropies (B, C); with an auxiliary loss, the balance loss of every rollout (B,)."""
        if not self.trainer.aux_loss_enabled:
            return *self._run(model, batch, compute_entropy=True), None
        config = self.trainer.model.config.get_text_config()
        with capture_router_logits(self.trainer.model) as captured:
            logps, entropies = self._run(model, batch, compute_entropy=True, compute_aux_loss=True)
        return logps, entropies, balance_losses(captured[0], batch, config.num_experts, config.num_experts_per_tok)

    @torch.no_grad()
    def policy_logps(self, batch: MicroBatch) -> torch.Tensor:
        """Log-probabilities (B, C) under the policy as it is, without gradient."""
        trainer = self.trainer
        with disable_gradient_checkpointing(trainer.model, trainer.args.gradient_checkpointing_kwargs):
            return self._run(trainer.model, batch)[0]

    @torch.no_grad()
    def reference_logps(self, batch: MicroBatch) -> torch.Tensor:
        """Log-probabilities under the reference model, or under the policy without its adapter (or with its first)."""
        if self.trainer.ref_model is not None:
            return self._run(self.trainer.ref_model, batch)[0]
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            return self.policy_logps(batch)

    def _run(
        self, model: Any, batch: MicroBatch, compute_entropy: bool = False, compute_aux_loss: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and, if wanted, entropies (B, C) of the completion tokens."""
        if isinstance(batch, PackedBatch):
            return self._run_packed(model, batch, compute_entropy, compute_aux_loss)
        return self.trainer._get_per_token_logps_and_entropies(
            model,
            batch.input_ids,
            batch.attention_mask,
            batch.mask.size(1),
            compute_entropy=compute_entropy,
            compute_aux_loss=compute_aux_loss,
            **batch.forward_kwargs,
        )[:2]

    def _run_packed(
        self, model: Any, batch: PackedBatch, compute_entropy: bool, compute_aux_loss: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        trainer = self.trainer
        plain = trainer.accelerator.unwrap_model(model) if model is trainer.ref_model else trainer.model
        with packed_attention(plain), trainer.accelerator.autocast():
            output = model(
                input_ids=batch.input_ids,
                position_ids=batch.position_ids,
                shift_labels=batch.shift_labels,
                fused_lm_head=True,
                **row_boundaries(plain, batch.row_lengths, batch.input_ids.device),
                **({"output_router_logits": True} if compute_aux_loss else {}),
            )
        return batch.unpack(output.log_probs), batch.unpack(output.entropy) if compute_entropy else None

    # ---- packed or padded -------------------------------------------------------------------------------------------

    def _may_pack(self) -> bool | None:
        """`False` if forwards must be padded, `None` if the first rollouts have yet to tell."""
        args = self.trainer.args
        wanted, reason = args.pack_rollouts, obstacle(self.trainer.model, args.torch_compile)
        if wanted and reason:
            raise ValueError(f"`pack_rollouts=True` does not work here: {reason}. Leave `pack_rollouts` out.")
        return False if reason or wanted is False else None

    def try_packing(self, rollouts: list[Rollout]) -> None:
        """
        Decides, from the first rollouts, whether forwards are packed; the same on every process.

        Raises:
            `ValueError`: If `pack_rollouts` is true and a row changes its neighbour.
        """
        if self.packs is not None:
            return
        self.packs = True
        reason = self._why_not_apart(rollouts)
        accelerator = self.trainer.accelerator
        self.packs = accelerator.gather(torch.tensor([reason is None], device=accelerator.device)).all().item()
        if self.packs:
            return
        reason = reason or "another process finds that rows change their neighbours"
        if self.trainer.args.pack_rollouts:
            raise ValueError(f"`pack_rollouts=True` does not work here: {reason}. Leave it out.")
        logger.warning(f"Every forward is padded, which is slower: {reason}.")

    def _why_not_apart(self, rollouts: list[Rollout]) -> str | None:
        """`None` if the model, run on packed rows without dropout, computes each as if it were alone."""
        if any(rollout.token_types or rollout.vision for rollout in rollouts):
            return "rollouts with token types or images cannot be packed"
        training = self.trainer.model.training
        self.trainer.model.eval()
        try:
            apart = rows_are_apart(lambda rows: self.policy_logps(self.collate(rows)), rollouts, self._tolerance())
        except Exception as error:  # whatever a model's own attention makes of rows that it was not written for
            return f"the model cannot be run on packed rows ({type(error).__name__}: {error})"
        finally:
            self.trainer.model.train(training)
        return None if apart else "a row changes its neighbour, since the model lets packed rows see each other"

    def _tolerance(self) -> float:
        """Largest difference of two log-probabilities, in nats, that is rounding."""
        exact = self.trainer.accelerator.mixed_precision == "no" and self.trainer.model.dtype == torch.float32
        return 1e-4 if exact else 5e-2
