"""Forwards over single rollouts, packed one after another, prompts perhaps once, or padded.

In: rollouts (`update/rollouts.py`). Out: their log-probabilities and entropies under the policy or the reference,
laid out by `update/micro_batches.py`. Left out: which rollouts are run and when (`planning.py`, `loss.py`), why packed
rows stay apart (`update/packing.py`), and whether prompts are shared (`prompts.py`).
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from accelerate.logging import get_logger
from torch import nn
from trl import GRPOTrainer

from ..compat import disable_gradient_checkpointing, use_adapter
from ..engines.backwards import is_reentrant
from ..update.micro_batches import MicroBatch, MicroStepBatch, PackedBatch, pack_rollouts, pad_rollouts
from ..update.packing import attention_window, obstacle, packed_attention, row_boundaries, rows_are_apart
from ..update.positions import position_limit
from ..update.prefix_attention import Prefixes
from ..update.prefixes import SharedBatch, share_prompts, trial_rollouts
from ..update.prefixes import obstacle as prompt_obstacle
from ..update.regularizers import balance_losses, capture_router_logits
from ..update.rollouts import Rollout
from .prompts import PromptSharing


logger = get_logger(__name__)

TOLERANCE, ROUGH_TOLERANCE = 1e-4, 5e-2  # nats that are rounding, in float32 and in lower precision


class Forwards:
    """
    Runs rollouts through the models of a trainer.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Its models, settings and processes are used; nothing in it is changed.

    Raises:
        `ValueError`: If `pack_rollouts` or `share_prompts` is true for a model that cannot be run so, or completions
        may be too long for the model's positions.
    """

    def __init__(self, trainer: GRPOTrainer):
        self.trainer = trainer
        self.position_limit = position_limit(trainer.model)
        self._check_lengths_at_start()
        self.why_padded: str | None = None
        self.packs = self._may_pack()  # `None` until the first rollouts have told
        self.prompts = PromptSharing(trainer.args.share_prompts, self._why_no_sharing())

    def collate(self, rollouts: list[Rollout], beside: Iterable[Rollout] = ()) -> MicroBatch:
        """The rollouts of one forward; packed where the model keeps them apart, and no image is here or `beside`."""
        packs = self.packs and not any(map(_has_images, [*rollouts, *beside]))
        layout = pad_rollouts
        if packs:
            layout = share_prompts if self.prompts.pay(rollouts) else pack_rollouts
        return self._lay_out(rollouts, layout)

    def collate_micro_step(self, forwards: list[list[Rollout]], one_per_backward: bool) -> MicroStepBatch:
        """The forwards of a micro-step, all of the same layout."""
        every = [rollout for rollouts in forwards for rollout in rollouts]
        return MicroStepBatch([self.collate(rollouts, beside=every) for rollouts in forwards], one_per_backward)

    def packs_all(self, rollouts: list[Rollout]) -> bool:
        """Whether a generation with these rollouts on this process is packed; the same on every process."""
        config = self.trainer.model.config
        if not self.packs or config.get_text_config() is config:  # the model reads nothing but text
            return bool(self.packs)
        accelerator = self.trainer.accelerator
        images = torch.tensor([any(map(_has_images, rollouts))], device=accelerator.device)
        return not accelerator.gather(images).any().item()

    def _lay_out(self, rollouts: list[Rollout], layout: Callable[..., MicroBatch]) -> MicroBatch:
        return layout(rollouts, self.trainer._tokenizer.pad_token_id, self.trainer.pad_to_multiple_of)

    def collate_all(self, rollouts: list[Rollout]) -> list[MicroBatch]:
        """As few forwards as the model's positions allow, as many on every process."""
        if self.position_limit is None:
            return [self.collate(rollouts)]
        filler = rollouts[0].filler()
        return [self.collate(rows or [filler]) for rows in self.position_limit.sides(rollouts)]

    def attention(self, micro_step: MicroStepBatch) -> AbstractContextManager[None]:
        """Must hold a backward, which may recompute the forwards."""
        return self._attention(self.trainer.model, micro_step.batches[0])

    def for_loss(self, model: Any, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and entropies (B, C); with an auxiliary loss, the balance loss of every rollout (B,)."""
        if not self.trainer.aux_loss_enabled:
            return *self._run(model, batch, compute_entropy=True), None
        config = self.trainer.model.config.get_text_config()
        with capture_router_logits(self.trainer.model) as captured:
            logps, entropies = self._run(model, batch, compute_entropy=True, compute_aux_loss=True)
        if torch.is_grad_enabled() and not captured[0][-1].requires_grad and is_reentrant(self.trainer.model):
            raise ValueError(
                "`router_aux_loss_coef`: reentrant checkpointing leaves the balance loss without a gradient. Write "
                "gradient_checkpointing_kwargs={'use_reentrant': False}; or, with an adapter under ZeRO-3, for which "
                "TRL insists on it, gradient_checkpointing=False or router_aux_loss_coef=0."
            )
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
        trainer, options = self.trainer, {"output_router_logits": True} if compute_aux_loss else {}
        plain = trainer.accelerator.unwrap_model(model) if model is trainer.ref_model else trainer.model
        if isinstance(batch, PackedBatch):
            options |= row_boundaries(plain, batch.row_lengths, batch.input_ids.device)
        if isinstance(batch, SharedBatch):
            options["prefixes"] = Prefixes(batch.row_lengths, batch.prefix_of)
        with self._attention(plain, batch), trainer.accelerator.autocast():
            output = model(**batch.model_inputs, fused_lm_head=True, **options)
        return batch.unpack(output.log_probs), batch.unpack(output.entropy) if compute_entropy else None

    def _attention(self, model: Any, batch: MicroBatch) -> AbstractContextManager[None]:
        may_share = self.prompts.shared is not False  # `None` in the trial
        return packed_attention(model, may_share) if isinstance(batch, PackedBatch) else nullcontext()

    def _check_lengths_at_start(self) -> None:
        limit, trainer = self.position_limit, self.trainer
        if limit is None:
            return
        limit.check(trainer.max_completion_length + 1)
        if limit.length % (trainer.pad_to_multiple_of or 1):
            raise ValueError(
                f"`pad_to_multiple_of`={trainer.pad_to_multiple_of} pads rows of up to {limit.length} tokens beyond "
                "that length, where the model's positions change. Leave it out, or take a divisor of that length."
            )

    # ---- packed or padded -------------------------------------------------------------------------------------------

    def _may_pack(self) -> bool | None:
        """`False` if forwards must be padded, `None` if the first rollouts have yet to tell."""
        args = self.trainer.args
        if args.pack_rollouts is False:
            self.why_padded = "pack_rollouts is false"
            return False
        self.why_padded = self._first(lambda model: obstacle(model, args.torch_compile))
        if args.pack_rollouts and self.why_padded:
            raise ValueError(f"`pack_rollouts=True` does not work here: {self.why_padded}. Leave `pack_rollouts` out.")
        return False if self.why_padded else None

    def _why_no_sharing(self) -> str | None:
        if self.why_padded:
            return f"forwards are padded: {self.why_padded}"
        return self._first(lambda model: prompt_obstacle(model, not self.trainer.args.disable_dropout))

    def _first(self, obstacle: Callable[[nn.Module], str | None]) -> str | None:
        """The first obstacle of the policy, or of the reference model, which may have another attention."""
        policy, reference = self.trainer.model, self.trainer.ref_model
        if (reason := obstacle(policy)) or reference is None:
            return reason
        reason = obstacle(self.trainer.accelerator.unwrap_model(reference))
        return f"the reference model: {reason}" if reason else None

    def try_out(self, rollouts: list[Rollout]) -> None:
        """
        Decides, from the first rollouts, how forwards are laid out; the same on every process.

        Raises:
            `ValueError`: If `pack_rollouts` is true and a row changes its neighbour, or `share_prompts` and a rollout
            is another one behind a prompt that it shares.
        """
        self._try_packing(rollouts)
        if not self.packs:
            self.prompts.refuse(f"forwards are padded: {self.why_padded}")
        elif self.prompts.shared is None:
            reason = self._why_not_shared(rollouts)
            self.prompts.decide(self._fits_all(reason), reason)

    def _try_packing(self, rollouts: list[Rollout]) -> None:
        if self.packs is not None:
            return
        self.packs = True
        reason = self._why_not_apart(rollouts)
        self.packs = self._fits_all(reason)
        if self.packs:
            return
        self.why_padded = reason or "another process finds that rows change their neighbours"
        if self.trainer.args.pack_rollouts:
            raise ValueError(f"`pack_rollouts=True` does not work here: {self.why_padded}. Leave it out.")
        logger.warning(f"Every forward is padded, which is slower: {self.why_padded}.")

    def _fits_all(self, reason: str | None) -> bool:
        """Whether no process has a reason against it."""
        accelerator = self.trainer.accelerator
        return accelerator.gather(torch.tensor([reason is None], device=accelerator.device)).all().item()

    def _why_not_apart(self, rollouts: list[Rollout]) -> str | None:
        """`None` if the model, run on packed rows without dropout, computes each as if it were alone."""
        if any(map(_has_images, rollouts)):
            return "rollouts with token types or images cannot be packed"

        def trial(rows: list[Rollout], tolerance: float, exact: bool) -> bool:
            layouts = (partial(self._logps, pack_rollouts), partial(self._logps, pad_rollouts))
            window = attention_window(self.trainer.model.config.get_text_config())
            return rows_are_apart(*layouts, rows, tolerance, exact, window)

        changed = "a row changes its neighbour, or is not computed as if alone"
        return self._why_trial_fails(trial, rollouts, "packed rows", changed)

    def _why_not_shared(self, rollouts: list[Rollout]) -> str | None:
        """`None` if rollouts behind one prompt get the log-probabilities that they have behind their own."""

        def trial(rows: list[Rollout], tolerance: float, exact: bool) -> bool:
            rows = trial_rollouts(rows)
            change = (self._logps(share_prompts, rows) - self._logps(pack_rollouts, rows)).abs()
            return bool((change.max() if exact else change.mean()) <= tolerance)

        changed = "a rollout has other log-probabilities behind a prompt that it shares"
        return self._why_trial_fails(trial, rollouts, "shared prompts", changed)

    def _why_trial_fails(
        self, trial: Callable[[list[Rollout], float, bool], bool], rollouts: list[Rollout], what: str, changed: str
    ) -> str | None:
        """`None` if the trial passes; its tolerance holds for every log-probability if the model computes exactly."""
        if self.position_limit is not None:  # rows from both sides are never run together
            rollouts = next(rows for rows in self.position_limit.sides(rollouts) if rows)
        training, model = self.trainer.model.training, self.trainer.model
        exact = self.trainer.accelerator.mixed_precision == "no" and model.dtype == torch.float32
        model.eval()
        try:
            passed = trial(rollouts, TOLERANCE if exact else ROUGH_TOLERANCE, exact)
        except Exception as error:  # whatever a model's own attention makes of rows that it was not written for
            return f"the model cannot be run on {what} ({type(error).__name__}: {error})"
        finally:
            model.train(training)
        return None if passed else changed

    def _logps(self, layout: Callable[..., MicroBatch], rollouts: list[Rollout]) -> torch.Tensor:
        return self.policy_logps(self._lay_out(rollouts, layout))


def _has_images(rollout: Rollout) -> bool:
    """Whether a rollout has images, or token types that say anything; a prompt without images may come with zeros."""
    images = rollout.vision.get("num_images", len(rollout.vision)) > 0
    return images or any(types.any().item() for types in rollout.token_types.values())
