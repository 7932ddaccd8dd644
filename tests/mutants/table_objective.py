"""Mutants of trl_real/objective."""

from .mutant import Mutant
from .table_update import oracle


LOSSES = "tests/objective/test_losses.py"
LABELS = "tests/objective/test_labels.py"
OWN = "tests/objective/test_own.py"


def objective(claim: str, old: str, new: str, tests: str = LOSSES) -> Mutant:
    return Mutant(claim, "objective", old, new, tests)


EQ_8 = "return _anchored_logsumexp(-logits, positive) + _anchored_logsumexp(logits, negative)"
DROPPED = 'losses.where(mixed_groups(labels), 0.0) if degenerate_groups == "drop" else losses'
OPTIONS = "options = (tau, loss_type, degenerate_groups, score_clip)\n\n    def trains"

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
        EQ_8,
        "return _anchored_logsumexp(logits, positive) + _anchored_logsumexp(-logits, negative)",
    ),
    objective(
        "right rollouts only in Eq. 8",
        EQ_8,
        "return _anchored_logsumexp(-logits, positive)",
    ),
    objective(
        "tau not in the loss",
        "_clip(scores, positive, negative, score_clip) / tau",
        "_clip(scores, positive, negative, score_clip)",
    ),
    objective(
        "the weights have the wrong sign", "return losses.detach(), weights", "return losses.detach(), -weights"
    ),
    objective("weights are those of a mean over groups", "total = losses.sum()", "total = losses.mean()"),
    objective("weights only where gradients are on", "with torch.enable_grad(), ", "with ", OWN),
    objective("a loss under autocast", ", torch.autocast(scores.device.type, enabled=False)", "", OWN),
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
        "Eq. 2 without its one",
        "torch.where(both[:, 0], -F.logsigmoid(-pairs), 0.0)",
        "torch.where(both[:, 0], pairs, 0.0)",
    ),
    objective(
        "Eq. 11 is a sum",
        "terms.sum(-1) / (positive | negative).sum(-1).clamp(min=1)",
        "terms.sum(-1)",
    ),
    objective("one-class groups have a loss", DROPPED, "losses"),
    objective("one-class groups cannot be kept", DROPPED, "losses.where(mixed_groups(labels), 0.0)"),
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
        "a rollout without tokens has a label",
        "rewards.masked_fill(counted_tokens == 0, torch.nan)",
        "rewards",
        LABELS,
    ),
    objective("labels of one's own are not asked for", "if self.label_func is None:\n", "if True:\n", oracle("rank")),
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
    # the objective of a run
    objective(
        "rollouts without gradient are run",
        "return self.trains(labels)[:, None] & ~labels.isnan()",
        "return ~labels.isnan()",
        oracle("real"),
    ),
    objective(
        "the loss is shared over all rollouts, labelled or not",
        "/ informative.sum(dim=1).clamp(min=1)",
        "/ labels.size(1)",
        oracle("real"),
    ),
    objective("tau of a run is the default", OPTIONS, OPTIONS.replace("(tau", "(0.5"), oracle("tau")),
    objective(
        "the clip does not reach the objective", OPTIONS, OPTIONS.replace("score_clip", "None"), oracle("clipped")
    ),
    objective("rollouts that are not trained have a part", "scores.masked_fill(~informative, 0.0)", "scores", OWN),
    objective("a loss may change labels", "own(scores, labels.clone())", "own(scores, labels)", OWN),
    # losses and labels of one's own
    objective(
        "a loss cannot say which groups it trains",
        'return getattr(group_loss, "trained_groups", mixed_groups)(labels)',
        "return mixed_groups(labels)",
        OWN,
    ),
    objective("a loss of the batch is taken", "~losses.isclose(alone, rtol=1e-4, atol=1e-5)", "losses.isnan()", OWN),
    objective("a loss that counts the unlabelled is taken", "moved & labels.isnan()", "moved & False", OWN),
    objective("a loss that trains what is skipped is taken", "moved.any(dim=1) & ~trained", "~trained & False", OWN),
    objective("a loss without gradient is taken", "not moved[trained].any()", "False", OWN),
    objective("a loss is tried at score 0 alone", "for scale in (0.0, 0.5):", "for scale in (0.0,):", OWN),
    objective("a loss is not tried at score 0", "for scale in (0.0, 0.5):", "for scale in (0.5,):", OWN),
    objective("labels may change rewards", "label_func(rewards.clone()), dtype", "label_func(rewards), dtype", LABELS),
    objective("labels by lot are taken", "if not torch.equal(first", "if False and torch.equal(first", OWN),
]
