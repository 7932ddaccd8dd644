"""Mutants of trl_real/objective."""

from .mutant import Mutant


LOSSES = "tests/objective/test_losses.py"
LABELS = "tests/objective/test_labels.py"
OWN = "tests/objective/test_own.py"
ORACLE = "tests/trainer/test_oracle.py"


def objective(claim: str, old: str, new: str, tests: str = LOSSES) -> Mutant:
    return Mutant(claim, "objective", old, new, tests)


EQ8 = "return _anchored_logsumexp(-logits, positive) + _anchored_logsumexp(logits, negative)"
DROPPED = 'losses.where(mixed_groups(labels), 0.0) if degenerate_groups == "drop" else losses'
BUILT_IN = "group_losses(scores, labels, *options), trains)"

MUTANTS = [
    # scores
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
    # losses
    objective("no anchor", "logits.new_zeros(logits.shape[0], 1)", "logits.new_full((len(logits), 1), -torch.inf)"),
    objective(
        "correct and incorrect exchanged in Eq. 8",
        EQ8,
        "return _anchored_logsumexp(logits, positive) + _anchored_logsumexp(-logits, negative)",
    ),
    objective("correct rollouts only in Eq. 8", EQ8, "return _anchored_logsumexp(-logits, positive)"),
    objective("no 1 + in the logarithm of Eq. 2", "-F.logsigmoid(-pairs), 0.0", "pairs, 0.0"),
    objective(
        "one-class groups have a loss in Eq. 2",
        "torch.where(both[:, 0], -F.logsigmoid(-pairs), 0.0)",
        "-F.logsigmoid(-pairs)",
    ),
    objective("Eq. 11 is a sum", " / (positive | negative).sum(-1).clamp(min=1)", ""),
    objective(
        "incorrect rollouts have no part in Eq. 11",
        " - F.logsigmoid(-logits) * negative",
        "",
    ),
    objective(
        "tau not in the loss",
        "_clip(scores, positive, negative, score_clip) / tau",
        "_clip(scores, positive, negative, score_clip)",
    ),
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
    objective("one-class groups have a loss", DROPPED, "losses"),
    objective("one-class groups cannot be kept", DROPPED, "losses.where(mixed_groups(labels), 0.0)"),
    objective(
        "an unlabelled rollout is incorrect",
        "positive, negative = labels == 1, labels == 0",
        "positive, negative = labels == 1, labels != 1",
    ),
    objective("half precision stays", "scores.to(torch.promote_types(scores.dtype, torch.float32))", "scores"),
    # weights
    objective(
        "the weights have the wrong sign", "torch.autograd.grad(total, leaf)", "torch.autograd.grad(-total, leaf)"
    ),
    objective(
        "weights are those of a mean over the groups",
        "total = losses.sum() + ",
        "total = losses.mean() + ",
    ),
    objective(
        "a loss without gradient has no weights",
        "losses.sum() + 0.0 * leaf.nan_to_num().sum()",
        "losses.sum()",
        f"{OWN} -k breaks",
    ),
    objective(
        "losses are computed under autocast",
        "torch.enable_grad(), torch.autocast(scores.device.type, enabled=False)",
        "torch.enable_grad()",
        f"{OWN} -k autocast",
    ),
    objective("weights need gradients to be on", "with torch.enable_grad(), ", "with ", f"{OWN} -k gradients_are_off"),
    # the objective of a run
    objective(
        "tau of the objective is the default",
        BUILT_IN,
        BUILT_IN.replace("*options", "0.5, *options[1:]"),
        f"{ORACLE} -k tau",
    ),
    objective(
        "the clip does not reach the objective",
        BUILT_IN,
        BUILT_IN.replace("*options", "*options[:3]"),
        f"{ORACLE} -k clipped",
    ),
    objective(
        "one-class groups are kept without a gradient",
        "positive | negative if keeps else positive & negative",
        "positive & negative",
        f"{ORACLE} -k 'bce and kept'",
    ),
    objective(
        "one-class groups without pairs are run",
        'degenerate_groups == "keep" and loss_type != "real_no_anchor"',
        'degenerate_groups == "keep"',
        f"{ORACLE} -k 'no and anchor and kept'",
    ),
    objective(
        "rollouts of groups that are not trained are run",
        "self.trains(labels)[:, None] & ~labels.isnan()",
        "~labels.isnan()",
        f"{OWN} -k have_no_part",
    ),
    objective(
        "rollouts without a label are run",
        "self.trains(labels)[:, None] & ~labels.isnan()",
        "self.trains(labels)[:, None].expand_as(labels)",
        f"{OWN} -k have_no_part",
    ),
    objective(
        "scores of rollouts that are not trained reach the loss",
        "scores.masked_fill(~informative, 0.0)",
        "scores",
        f"{OWN} -k have_no_part",
    ),
    objective(
        "rollouts that are not trained have a weight",
        "return weights.masked_fill(~informative, 0.0)",
        "return weights",
        f"{OWN} -k have_no_part",
    ),
    objective(
        "the loss of a group is shared over all its rollouts",
        "losses / informative.sum(dim=1).clamp(min=1)",
        "losses / labels.size(1)",
        f"{OWN} -k have_no_part",
    ),
    objective(
        "rollouts that are not trained have a share of the loss",
        "shares[:, None] * informative",
        "shares[:, None].expand_as(weights)",
        f"{OWN} -k have_no_part",
    ),
    # functions of one's own
    objective(
        "a loss may write into the labels",
        "own(scores, labels.clone())",
        "own(scores, labels)",
        f"{OWN} -k writes_into_its",
    ),
    objective(
        "a loss cannot say which groups it trains",
        "partial(trained_groups, own)",
        "partial(trained_groups, None)",
        f"{OWN} -k attribute",
    ),
    objective(
        "a loss may depend on other groups",
        "~losses.isclose(alone, rtol=1e-4, atol=1e-5)",
        "torch.zeros_like(trained)",
        f"{OWN} -k breaks",
    ),
    objective(
        "a loss is not tried at scores of 0", "for scale in (0.0, 0.5):", "for scale in (0.5,):", f"{OWN} -k breaks"
    ),
    objective(
        "a loss may have a gradient in a rollout without a label",
        "(moved & labels.isnan()).any(dim=1)",
        "torch.zeros_like(trained)",
        f"{OWN} -k breaks",
    ),
    objective(
        "a loss may have a gradient in a group that is not trained",
        "moved.any(dim=1) & ~trained",
        "torch.zeros_like(trained)",
        f"{OWN} -k breaks",
    ),
    objective("a loss may have no gradient at all", "if scale and size > 1 and", "if False and", f"{OWN} -k breaks"),
    objective("a function that no checkpoint can hold is taken", "pickle.dumps(value)", "pass", f"{OWN} -k named"),
    objective("a label may be any number", "if wrong.numel():", "if False:", f"{OWN} -k label_function"),
    objective(
        "labels may be drawn by lot",
        "if not torch.equal(first.nan_to_num(-1.0), second.nan_to_num(-1.0)):",
        "if False:",
        f"{OWN} -k label_function",
    ),
    # labels
    objective("a function's own labels are ignored", "if self.label_func is None:", "if True:", LABELS),
    objective(
        "a label function may write into the rewards",
        "label_func(rewards.clone()), dtype",
        "label_func(rewards), dtype",
        LABELS,
    ),
    objective(
        "a reward at the threshold is correct",
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
    objective(
        "a rollout without a reward has a label",
        "return labels.masked_fill(rewards.isnan(), torch.nan)",
        "return labels",
        LABELS,
    ),
    objective(
        "a rollout that no function scored has the reward 0",
        ".nansum(dim=1).masked_fill(unscored, torch.nan)",
        ".nansum(dim=1)",
        LABELS,
    ),
    objective(
        "reward weights are ignored", "(rewards_per_func * reward_weights).nansum", "rewards_per_func.nansum", LABELS
    ),
    objective("mixed groups count as all right", '"all_correct": right & ~wrong', '"all_correct": right', LABELS),
]
