"""Which layout the forwards of a run have: packed, behind prompts computed once, or padded; one answer for all
processes, from what the user asks for, what the models' settings rule out, and a trial of the first rollouts.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from accelerate.logging import get_logger
from torch.nn.utils.rnn import pad_sequence

from .forwards import Forwards
from .layouts import MicroBatch, MicroStepBatch, pack_rollouts, pad_rollouts, share_prompts
from .obstacles import attention_window, packing_obstacle, position_limit, sharing_obstacle
from .rollouts import Rollout, gathered
from .settings import StepSettings
from .sharing import LEAST_SHARE, Sharing
from .trial import compare, packing_rows, passes, sharing_rows


logger = get_logger(__name__)

Layout = Callable[..., MicroBatch]

LAYOUT = "trl_real_layout"  # key of a checkpoint's `stateful_callbacks`


class LayoutChoice:
    """
    The answer, once the first rollouts are there, and the batches that follow from it. Raises `ValueError` for a model
    that does not support `pack_rollouts=True` or `share_prompts=True`, or the positions of such long completions.
    """

    def __init__(self, forwards: Forwards, settings: StepSettings):
        self.forwards, self.settings = forwards, settings
        self.least = 0.0 if settings.share_prompts else LEAST_SHARE  # share of a forward's tokens worth sharing
        self.position_limit = position_limit(forwards.policy)
        self._check_lengths()
        self.why_padded = self._why_not_packed_by_settings()
        self.packs = False if self.why_padded else None  # `None` until the trial
        self.why_not_shared: str | None = None
        self.shared: bool | None = None
        if settings.share_prompts is False:
            self.shared, self.why_not_shared = False, "share_prompts is false"
        elif self.why_padded:
            self._refuse_sharing(f"forwards are padded: {self.why_padded}")
        elif reason := self._first(lambda model: sharing_obstacle(model, settings.dropout)):
            self._refuse_sharing(reason)

    # ---- batches ----------------------------------------------------------------------------------------------------

    def collate(self, rollouts: list[Rollout], beside: Iterable[Rollout] = ()) -> MicroBatch:
        """The rollouts of one forward; padded if there is an image here or `beside`."""
        layout = pad_rollouts
        if self.packs and not any(map(_has_images, [*rollouts, *beside])):
            sharing = self.among(*_sizes(rollouts))
            layout = share_prompts if sharing and sharing.saved(range(len(rollouts))) > 0 else pack_rollouts
        return self._lay_out(rollouts, layout)

    def collate_micro_step(self, forwards: list[list[Rollout]], one_per_backward: bool = False) -> MicroStepBatch:
        """The forwards of a micro-step, all of the same layout."""
        every = [rollout for rollouts in forwards for rollout in rollouts]
        return MicroStepBatch([self.collate(rollouts, beside=every) for rollouts in forwards], one_per_backward)

    def collate_all(self, rollouts: list[Rollout]) -> MicroStepBatch:
        """As few forwards as the model's positions allow, as many on every process."""
        if self.position_limit is None:
            return MicroStepBatch([self.collate(rollouts)])
        filler = rollouts[0].filler()
        return MicroStepBatch([self.collate(rows or [filler]) for rows in self.position_limit.sides(rollouts)])

    def packs_all(self, rollouts: list[Rollout]) -> bool:
        """Whether a generation with these rollouts on this process is packed; the same on every process."""
        config = self.forwards.policy.config
        if not self.packs or config.get_text_config() is config:  # the model reads only text
            return bool(self.packs)
        return not self._gather([any(map(_has_images, rollouts))]).any()

    def among(self, keys: Sequence[int], prompts: Sequence[int], lengths: Sequence[int]) -> Sharing | None:
        """What rows with these prompt keys, prompt lengths and lengths share."""
        return Sharing(keys, prompts, lengths, self.least) if self.shared else None

    def _lay_out(self, rollouts: list[Rollout], layout: Layout) -> MicroBatch:
        return layout(rollouts, self.settings.pad_token_id, self.settings.pad_to_multiple_of)

    # ---- settings ---------------------------------------------------------------------------------------------------

    def _check_lengths(self) -> None:
        limit, multiple = self.position_limit, self.settings.pad_to_multiple_of
        if limit is None:
            return
        limit.check(self.settings.max_completion_length + 1)
        if limit.length % (multiple or 1):
            raise ValueError(
                f"`pad_to_multiple_of`={multiple} pads rows of up to {limit.length} tokens beyond that length, at "
                "which the model's positions change. Omit it, or write a divisor of that length."
            )

    def _why_not_packed_by_settings(self) -> str | None:
        if self.settings.pack_rollouts is False:
            return "pack_rollouts is false"
        reason = self._first(lambda model: packing_obstacle(model, self.settings.compiled))
        if self.settings.pack_rollouts and reason:
            raise ValueError(f"`pack_rollouts=True` does not work here: {reason}. Omit `pack_rollouts`.")
        return reason

    def _first(self, obstacle: Callable[[Any], str | None]) -> str | None:
        """The first obstacle of the policy, or of the reference model, which may have another attention."""
        for prefix, model in zip(("", "the reference model: "), self.forwards.models(), strict=False):
            if reason := obstacle(model):
                return f"{prefix}{reason}"
        return None

    def _refuse_sharing(self, reason: str) -> None:
        if self.settings.share_prompts:
            raise ValueError(f"`share_prompts=True` does not work here: {reason}. Omit it.")
        self.shared, self.why_not_shared = False, self.why_not_shared or reason
        self.forwards.may_share = False

    # ---- trial ------------------------------------------------------------------------------------------------------

    def resume(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the layout of a resumed run, from its checkpoint's `stateful_callbacks`, unless settings differ."""
        layout = checkpoint.get(LAYOUT, {})
        packed, shared = layout.get("packed"), layout.get("shared")
        if self.packs is None and (packed or (packed is False and not self.settings.pack_rollouts)):
            self.packs, self.why_padded = packed, layout["why_padded"]
        if self.shared is None and shared:
            self.shared = True
        elif self.shared is None and shared is False and not self.settings.share_prompts:
            self._refuse_sharing(layout["why_not_shared"])

    @property
    def decided(self) -> dict[str, Any]:
        """The decision, for the `stateful_callbacks` of a checkpoint."""
        layout = dict(packed=self.packs, why_padded=self.why_padded)
        return {LAYOUT: layout | dict(shared=self.shared, why_not_shared=self.why_not_shared)}

    def describe(self, sharing: Sharing | None) -> str:
        """The layout of a generation whose prompts can be shared like this, in words."""
        if not self.packs:
            return f"padded ({self.why_padded})"
        if sharing is None:
            return f"packed, prompts not shared ({self.why_not_shared})"
        if sharing.saved(range(len(sharing.keys))) == 0:
            return f"packed, prompts not shared (that would save less than {sharing.least:.0%} of the tokens)"
        return "packed, prompts shared"

    def try_out(self, rollouts: list[Rollout]) -> None:
        """
        Decides, from the first rollouts, how forwards are laid out; the same on every process. Raises `ValueError` if
        `pack_rollouts` or `share_prompts` is true and the trial fails.
        """
        if self.packs is None:
            self._try_packing(rollouts)
        if not self.packs:
            self._refuse_sharing(f"forwards are padded: {self.why_padded}")
        elif self.shared is None:
            if reason := self._why_not_shared(rollouts):
                self._refuse_sharing(reason)
                logger.warning(f"Every rollout computes its own prompt, which is slower: {reason}.")
            self.shared = reason is None

    def _try_packing(self, rollouts: list[Rollout]) -> None:
        self.packs = True
        # Images on any process count, since all join the forwards of the trial, or none
        images = "rollouts with token types or images cannot be packed" if not self.packs_all(rollouts) else None
        self.why_padded = images or self._why_not_apart(rollouts)
        self.packs = self.why_padded is None
        if self.why_padded and self.settings.pack_rollouts:
            raise ValueError(f"`pack_rollouts=True` does not work here: {self.why_padded}. Omit it.")
        if self.why_padded:
            logger.warning(f"Every forward is padded, which is slower: {self.why_padded}.")

    def _why_not_apart(self, rollouts: list[Rollout]) -> str | None:
        """`None` if the model computes each of several packed rows as if it were alone."""
        window = attention_window(self.forwards.policy.config.get_text_config())

        def trial(rollouts: list[Rollout]) -> torch.Tensor:
            rows = packing_rows(rollouts, window)
            behind = self._logps(pack_rollouts, rows[::-1]).flip(0)
            return self._compare([self._logps(pack_rollouts, rows), behind], pad_rollouts, rows)

        changed = "a row changes its neighbor, or is not computed as if alone"
        return self._why_trial_fails(trial, rollouts, "packed rows", changed)

    def _why_not_shared(self, rollouts: list[Rollout]) -> str | None:
        """`None` if rollouts behind a shared prompt get the same log-probabilities as behind their own."""

        def trial(rollouts: list[Rollout]) -> torch.Tensor:
            rows = sharing_rows(rollouts)
            return self._compare([self._logps(share_prompts, rows)], pack_rollouts, rows)

        changed = "a rollout has other log-probabilities behind a prompt that it shares"
        return self._why_trial_fails(trial, rollouts, "shared prompts", changed)

    def _compare(self, tried: list[torch.Tensor], layout: Layout, rows: list[Rollout]) -> torch.Tensor:
        mask = pad_sequence([row.mask for row in rows], batch_first=True)
        return compare(tried, lambda: self._logps(layout, rows), mask, self.forwards.policy.get_input_embeddings())

    def _logps(self, layout: Layout, rollouts: list[Rollout]) -> torch.Tensor:
        return self.forwards.policy_logps(self._lay_out(rollouts, layout))

    def _why_trial_fails(
        self, trial: Callable[[list[Rollout]], torch.Tensor], rollouts: list[Rollout], what: str, changed: str
    ) -> str | None:
        """`None` if the trial, without dropout, passes on all processes together; otherwise why it fails, on each."""
        if self.position_limit is not None:  # rows from both sides are never run together
            rollouts = next(rows for rows in self.position_limit.sides(rollouts) if rows)
        model, error = self.forwards.policy, None
        training, totals = model.training, torch.full((3,), torch.nan)
        model.eval()
        try:
            totals = trial(rollouts)
        except NotImplementedError as raised:
            error = f"the model cannot be run on {what}: {raised}"
        except Exception as raised:  # from a model's own attention, which may not expect such rows
            error = f"the model cannot be run on {what} ({type(raised).__name__}: {raised})"
        finally:
            model.train(training)
        return None if passes(self._gather([totals.tolist()])) else error or changed

    def _gather(self, values: list[Any]) -> torch.Tensor:
        """The values of all processes, one row each."""
        accelerator = self.forwards.accelerator
        return gathered(accelerator, torch.tensor(values, device=accelerator.device))


def _sizes(rollouts: list[Rollout]) -> tuple[list[int], list[int], list[int]]:
    """Prompt keys, prompt lengths and lengths."""
    keys, prompts = [rollout.prompt_key for rollout in rollouts], [len(rollout.prompt_ids) for rollout in rollouts]
    return keys, prompts, [rollout.length for rollout in rollouts]


def _has_images(rollout: Rollout) -> bool:
    """Whether a rollout has images, or token types other than 0, which a prompt without images may have."""
    images = rollout.vision.get("num_images", len(rollout.vision)) > 0
    return images or any(types.any().item() for types in rollout.token_types.values())
