"""GRPOTrainer whose forwards run single rollouts, packed one after another or padded; `REALTrainer` builds on it.

In: rollouts (`rollouts.py`). Out: their log-probabilities under the policy or the reference model, laid out by
`micro_batches.py`. Left out: which rollouts are run and when (`trainer.py`), and why rows stay apart (`packing.py`).
"""

from typing import Any

import torch
from accelerate.logging import get_logger

from ..compat import disable_gradient_checkpointing, use_adapter
from ..update.micro_batches import MicroBatch, PackedBatch, pack_rollouts, pad_rollouts
from ..update.packing import obstacle, packed_attention, row_boundaries, rows_are_apart
from ..update.rollouts import Rollout
from ..validation.trainer import ValidatingTrainer


logger = get_logger(__name__)


class ScoringTrainer(ValidatingTrainer):
    """[`ValidatingTrainer`] with forwards over rollouts without padding."""

    _packs: bool | None = False  # `None` until the first rollouts have told
    _reading_rollouts = False  # while TRL scores completions

    def _may_pack(self) -> bool | None:
        """`False` if forwards must be padded, `None` if the first rollouts have yet to tell."""
        wanted, reason = self.args.pack_rollouts, obstacle(self.model, self.args.torch_compile)
        if wanted and reason:
            raise ValueError(f"`pack_rollouts=True` does not work here: {reason}. Leave `pack_rollouts` out.")
        return False if reason or wanted is False else None

    def _rows_stay_apart(self, rollouts: list[Rollout]) -> bool:
        """Whether the model, run on packed rows, computes each as if it were alone; the same on every process."""
        self._packs = True
        exact = self.accelerator.mixed_precision == "no" and self.model.dtype == torch.float32
        apart = not any(rollout.token_types or rollout.vision for rollout in rollouts) and rows_are_apart(
            lambda rows: self._policy_logps(self._collate(rows)), rollouts, 1e-4 if exact else 5e-2
        )
        apart = self.accelerator.gather(torch.tensor([apart], device=self.accelerator.device)).all().item()
        if not apart and self.args.pack_rollouts:
            raise ValueError("`pack_rollouts=True` does not work here: a row changes its neighbour. Leave it out.")
        if not apart:
            logger.warning("This model lets packed rows see each other, so every forward is padded, which is slower.")
        return apart

    def _collate(self, rollouts: list[Rollout]) -> MicroBatch:
        layout = pack_rollouts if self._packs else pad_rollouts
        return layout(rollouts, self._tokenizer.pad_token_id, self.pad_to_multiple_of)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        # TRL asks for old and reference log-probabilities of every rollout while it scores the completions, padded to
        # the longest. They are computed later, where the plan needs them.
        if self._reading_rollouts:
            return None, None, None
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    def _forward(
        self, model: Any, batch: MicroBatch, compute_entropy: bool = False, compute_aux_loss: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and, if wanted, entropies (B, C) of the completion tokens."""
        if isinstance(batch, PackedBatch):
            return self._packed_forward(model, batch, compute_entropy, compute_aux_loss)
        return self._get_per_token_logps_and_entropies(
            model,
            batch.input_ids,
            batch.attention_mask,
            batch.mask.size(1),
            compute_entropy=compute_entropy,
            compute_aux_loss=compute_aux_loss,
            **batch.forward_kwargs,
        )[:2]

    def _packed_forward(
        self, model: Any, batch: PackedBatch, compute_entropy: bool, compute_aux_loss: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        plain = self.accelerator.unwrap_model(model) if model is self.ref_model else self.model
        with packed_attention(plain), self.accelerator.autocast():
            output = model(
                input_ids=batch.input_ids,
                position_ids=batch.position_ids,
                shift_labels=batch.shift_labels,
                fused_lm_head=True,
                **row_boundaries(plain, batch.row_lengths, batch.input_ids.device),
                **({"output_router_logits": True} if compute_aux_loss else {}),
            )
        return batch.unpack(output.log_probs), batch.unpack(output.entropy) if compute_entropy else None

    @torch.no_grad()
    def _policy_logps(self, batch: MicroBatch) -> torch.Tensor:
        with disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            return self._forward(self.model, batch)[0]

    @torch.no_grad()
    def _reference_logps(self, batch: MicroBatch) -> torch.Tensor:
        """Log-probabilities under the reference model, or under the policy without its adapter (or with its first)."""
        if self.ref_model is not None:
            return self._forward(self.ref_model, batch)[0]
        model = self.accelerator.unwrap_model(self.model)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            return self._policy_logps(batch)
