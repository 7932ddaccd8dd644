"""The REAL objective on plain tensors: scores (Eq. 5), group losses (Eq. 8, Eq. 2, Eq. 11) and their weights.

Equations are numbered as in "Rewards as Labels" (arXiv 2602.05630). Depends on torch alone; the mean over the groups
of an optimizer step is the caller's, who alone knows how many groups there are.

Legend: B rollouts, T tokens, N groups, G rollouts per group.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F


DEGENERATE_GROUPS = ("drop", "keep")


def sequence_scores(
    per_token_logps: torch.Tensor, old_per_token_logps: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """
    Length-normalized relative log-probability of every rollout (Eq. 5).

    Args:
        per_token_logps (`torch.Tensor` of shape `(B, T)`):
            Log-probabilities of the sampled tokens under the policy in training, in nats.
        old_per_token_logps (`torch.Tensor` of shape `(B, T)`):
            The same under the policy that sampled them.
        mask (`torch.Tensor` of shape `(B, T)`):
            Nonzero where a token counts (completion mask × tool mask).

    Returns:
        `torch.Tensor` of shape `(B,)`: Scores, float32 (float64 if the log-probabilities are). A row with an empty
        mask gives 0.

    Raises:
        `ValueError`: If the three shapes differ.
    """
    if not per_token_logps.shape == old_per_token_logps.shape == mask.shape:
        raise ValueError(
            "`per_token_logps`, `old_per_token_logps` and `mask` must have the same shape (B, T), got "
            f"{tuple(per_token_logps.shape)}, {tuple(old_per_token_logps.shape)} and {tuple(mask.shape)}."
        )
    dtype = torch.promote_types(per_token_logps.dtype, torch.float32)
    log_ratio = per_token_logps.to(dtype) - old_per_token_logps.to(dtype)
    counted = mask != 0
    # masked_fill, not a product: padding may hold -inf or NaN
    return log_ratio.masked_fill(~counted, 0.0).sum(-1) / counted.sum(-1).clamp(min=1)


def _real(logits: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Eq. 8, the sum of Eq. 6 and Eq. 7; logits are scores / τ."""
    return _anchored_logsumexp(-logits, positive) + _anchored_logsumexp(logits, negative)


def _real_no_anchor(logits: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Eq. 2 on the scores; log(1 + 0) = 0 for one class alone, whose empty logsumexp is kept out of the gradient."""
    both = (positive.any(-1) & negative.any(-1))[:, None]
    pairs = _logsumexp(-logits, positive | ~both) + _logsumexp(logits, negative | ~both)
    return torch.where(both[:, 0], -F.logsigmoid(-pairs), 0.0)


def _bce(logits: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Eq. 11 divided by the number of labelled rollouts."""
    terms = -F.logsigmoid(logits) * positive - F.logsigmoid(-logits) * negative
    return terms.sum(-1) / (positive | negative).sum(-1).clamp(min=1)


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "real": _real,
    "real_no_anchor": _real_no_anchor,
    "bce": _bce,
}
LOSS_TYPES = tuple(LOSSES)


def group_losses(
    scores: torch.Tensor,
    labels: torch.Tensor,
    tau: float = 0.5,
    loss_type: str = "real",
    degenerate_groups: str = "drop",
    score_clip: float | None = None,
) -> torch.Tensor:
    """
    Loss of every group of rollouts, differentiable in the scores.

    Args:
        scores (`torch.Tensor` of shape `(N, G)`):
            Scores of Eq. 5.
        labels (`torch.Tensor` of shape `(N, G)`):
            1.0 for a positive rollout, 0.0 for a negative one, NaN for a rollout without a label (in neither set).
        tau (`float`, *optional*, defaults to `0.5`):
            Temperature τ.
        loss_type (`str`, *optional*, defaults to `"real"`):
            `"real"` (Eq. 8, anchored softmax), `"real_no_anchor"` (Eq. 2 on the scores) or `"bce"` (Eq. 11 divided by
            the number of labelled rollouts of the group).
        degenerate_groups (`str`, *optional*, defaults to `"drop"`):
            `"drop"`: a group with only one class has loss 0 and no gradient. `"keep"`: the formula as printed.
        score_clip (`float`, *optional*):
            Not in the paper. A positive rollout's score counts as at most this, a negative one's as at
            least minus this, so that beyond it a rollout has no gradient.

    Returns:
        `torch.Tensor` of shape `(N,)`: Losses, in the dtype of the scores (float32 at least).

    Raises:
        `ValueError`: If an argument is outside its allowed values; the message names both.
    """
    check_options(tau, loss_type, degenerate_groups, score_clip)
    if scores.dim() != 2 or scores.shape != labels.shape:
        raise ValueError(
            f"`scores` and `labels` must both have shape (N, G), got {tuple(scores.shape)} and {tuple(labels.shape)}."
        )
    positive, negative = labels == 1, labels == 0
    if not bool((positive | negative | labels.isnan()).all()):
        raise ValueError("`labels` must be 1.0 (correct), 0.0 (incorrect) or NaN (no label); found another value.")
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).masked_fill(~(positive | negative), 0.0)
    losses = LOSSES[loss_type](_clip(scores, positive, negative, score_clip) / tau, positive, negative)
    return losses.where(mixed_groups(labels), 0.0) if degenerate_groups == "drop" else losses


def score_weights(
    scores: torch.Tensor,
    labels: torch.Tensor,
    tau: float = 0.5,
    loss_type: str = "real",
    degenerate_groups: str = "drop",
    score_clip: float | None = None,
) -> torch.Tensor:
    """
    Derivative of `group_losses(...).sum()` with respect to every score (Eq. 9 for `"real"`).

    Negative for positives (their score is pushed up), positive for negatives, 0 without a label. Bounded by 1/τ
    (Proposition 5.1). With these weights as constants, `(weights * scores).sum()` has the gradient of the loss however
    the rollouts are spread over batches.

    Args:
        scores, labels, tau, loss_type, degenerate_groups, score_clip:
            As for [`group_losses`].

    Returns:
        `torch.Tensor` of shape `(N, G)`: Weights, detached, in the dtype of the scores (float32 at least).

    Raises:
        `ValueError`: As for [`group_losses`].
    """
    options = (tau, loss_type, degenerate_groups, score_clip)
    return losses_and_weights(lambda scores, labels: group_losses(scores, labels, *options), scores, labels)[1]


def losses_and_weights(
    group_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], scores: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Loss (N,) of every group and its derivative (N, G) with respect to every score, both detached. `group_loss` takes
    scores and labels (N, G), as [`group_losses`] does, and returns losses (N,), each of its own group alone.
    """
    with torch.enable_grad(), torch.autocast(scores.device.type, enabled=False):  # a product would be in bfloat16
        leaf = scores.detach().to(torch.promote_types(scores.dtype, torch.float32)).requires_grad_()
        losses = group_loss(leaf, labels)
        total = losses.sum() + 0.0 * leaf.nan_to_num().sum()  # a loss may be constant where no group is trained
        (weights,) = torch.autograd.grad(total, leaf)
    return losses.detach(), weights


def mixed_groups(labels: torch.Tensor) -> torch.Tensor:
    """Which groups (N,) have both correct and incorrect rollouts, from labels (N, G)."""
    return (labels == 1).any(-1) & (labels == 0).any(-1)


def _logsumexp(logits: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """log Σ exp over the members of each row; -inf for a row without members."""
    return logits.masked_fill(~members, -torch.inf).logsumexp(-1)


def _anchored_logsumexp(logits: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """log(1 + Σ exp) over the members of each row: the anchor logit 0 of Eq. 6 and Eq. 7."""
    anchor = logits.new_zeros(logits.shape[0], 1)
    return torch.cat([anchor, logits.masked_fill(~members, -torch.inf)], dim=-1).logsumexp(-1)


def _clip(scores: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, limit: float | None) -> torch.Tensor:
    """Scores beyond the limit in the direction they are trained in are held there, without gradient."""
    if limit is None:
        return scores
    beyond = (positive & (scores > limit)) | (negative & (scores < -limit))
    return torch.where(beyond, scores.detach().clamp(-limit, limit), scores)


def check_options(tau: float, loss_type: str, degenerate_groups: str, score_clip: float | None = None) -> None:
    """Raise `ValueError` with the name and the allowed values if an option of the objective is wrong."""
    if not _is_positive(tau):
        raise ValueError(f"`tau` must be a finite number above 0 (the paper uses 0.5), got {tau!r}.")
    if loss_type not in LOSSES:
        allowed = ", ".join(map(repr, LOSSES))
        raise ValueError(
            f"`loss_type` must be one of {allowed}, a function, or 'package.module:function', got {loss_type!r}. Omit "
            "it for 'real'."
        )
    if degenerate_groups not in DEGENERATE_GROUPS:
        allowed = ", ".join(map(repr, DEGENERATE_GROUPS))
        raise ValueError(f"`degenerate_groups` must be one of {allowed}, got {degenerate_groups!r}.")
    if score_clip is not None and not _is_positive(score_clip):
        raise ValueError(f"`score_clip` must be a finite number above 0, or None for no clip, got {score_clip!r}.")


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
