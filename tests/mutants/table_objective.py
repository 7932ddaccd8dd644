"""Mutants of trl_real/objective."""

from .mutant import Mutant


LOSSES = "tests/objective/test_losses.py"
LABELS = "tests/objective/test_labels.py"


def objective(claim: str, old: str, new: str, tests: str = LOSSES) -> Mutant:
    return Mutant(claim, "objective", old, new, tests)


SHARES = "(push.masked_fill(~negative, 0.0) - pull.masked_fill(~positive, 0.0)) / tau"
DROPPED_WEIGHTS = 'weights.masked_fill(~both[:, None], 0.0) if degenerate_groups == "drop" else weights'

MUTANTS = [
    objective(
        "a score is a sum over tokens, not a mean",
        "log_ratio.masked_fill(~counted, 0.0).sum(-1) / counted.sum(-1).clamp(min=1)",
        "log_ratio.masked_fill(~counted, 0.0).sum(-1)",
    ),
    objective(
        "a score is a mean over the width of the batch",
        "/ counted.sum(-1).clamp(min=1)",
        "/ counted.size(-1)",
    ),
    objective("the gap of ranked labels is ignored", "& (best - worst >= self.gap)", "", LABELS),
    objective("equal rewards are ranked", "scored & (best > worst)", "scored", LABELS),
    objective("a score of no token divides by 0", "counted.sum(-1).clamp(min=1)", "counted.sum(-1)"),
    objective("masked tokens are part of a score", "log_ratio.masked_fill(~counted, 0.0)", "log_ratio"),
    objective(
        "a score has the wrong sign",
        "per_token_logps.to(dtype) - old_per_token_logps.to(dtype)",
        "old_per_token_logps.to(dtype) - per_token_logps.to(dtype)",
    ),
    objective("no anchor", "logits.new_zeros(logits.shape[0], 1)", "logits.new_full((len(logits), 1), -torch.inf)"),
    objective(
        "right and wrong exchanged in Eq. 8",
        "losses = _anchored_logsumexp(-logits, positive) + _anchored_logsumexp(logits, negative)",
        "losses = _anchored_logsumexp(logits, positive) + _anchored_logsumexp(-logits, negative)",
    ),
    objective(
        "right rollouts only in Eq. 8",
        "losses = _anchored_logsumexp(-logits, positive) + _anchored_logsumexp(logits, negative)",
        "losses = _anchored_logsumexp(-logits, positive)",
    ),
    objective(
        "tau not in the loss",
        "_clip(scores, positive, negative, score_clip) / tau",
        "_clip(scores, positive, negative, score_clip)",
    ),
    objective("tau not in the logits of the weights", "logits = clipped / tau", "logits = clipped"),
    objective("tau not in the size of the weights", SHARES, SHARES.removesuffix(" / tau")),
    objective("the weights have the wrong sign", SHARES, f"-{SHARES}"),
    objective(
        "weights without their anchor",
        "pull = (-logits - _anchored_logsumexp(-logits, positive)[:, None]).exp()",
        "pull = (-logits - _logsumexp(-logits, positive)[:, None]).exp()",
    ),
    objective("a clipped rollout keeps its weight", "weights.masked_fill(clipped != scores, 0.0)", "weights"),
    objective(
        "the clip is on the wrong side",
        "(positive & (scores > limit)) | (negative & (scores < -limit))",
        "(positive & (scores < -limit)) | (negative & (scores > limit))",
    ),
    objective(
        "the clip lets a gradient through",
        "scores.detach().clamp(-limit, limit)",
        "scores - (scores - scores.clamp(-limit, limit)).detach()",
    ),
    objective(
        "no gate in the weights of Eq. 2",
        "torch.sigmoid(lse_positive + lse_negative) * both[:, None]",
        "both[:, None].to(scores.dtype)",
    ),
    objective(
        "Eq. 11 is a sum",
        "losses = terms.sum(-1) / (positive | negative).sum(-1).clamp(min=1)",
        "losses = terms.sum(-1)",
    ),
    objective(
        "weights of Eq. 11 are those of a sum",
        "pull = torch.sigmoid(-logits) / count",
        "pull = torch.sigmoid(-logits)",
    ),
    objective(
        "one-class groups have a loss",
        'torch.where(both, losses, 0.0) if degenerate_groups == "drop" else losses',
        "losses",
    ),
    objective("one-class groups have a gradient", DROPPED_WEIGHTS, "weights"),
    objective("one-class groups cannot be kept", DROPPED_WEIGHTS, "weights.masked_fill(~both[:, None], 0.0)"),
    objective(
        "an unlabelled rollout is wrong",
        "positive, negative = labels == 1, labels == 0",
        "positive, negative = labels == 1, labels != 1",
    ),
    objective("half precision stays", "scores.to(torch.promote_types(scores.dtype, torch.float32))", "scores"),
    objective(
        "a reward at the threshold is right",
        "rewards > self.threshold).float()",
        "rewards >= self.threshold).float()",
        LABELS,
    ),
    objective(
        "a rollout without tokens has a label", "rewards.isnan() | (counted_tokens == 0)", "rewards.isnan()", LABELS
    ),
    objective(
        "a rollout without reward is wrong",
        ".nansum(dim=1).masked_fill(unscored, torch.nan)",
        ".nansum(dim=1)",
        LABELS,
    ),
    objective(
        "reward weights are ignored", "(rewards_per_func * reward_weights).nansum", "rewards_per_func.nansum", LABELS
    ),
    objective("mixed groups count as all right", '"all_right": right & ~wrong', '"all_right": right', LABELS),
]
