"""The paper's mathematics on plain tensors, in torch alone: labels, scores, losses of groups, weights."""

from .labels import LabelRule, group_shares, make_label_rule
from .losses import DEGENERATE_GROUPS, LOSS_TYPES, check_options, group_losses, score_weights, sequence_scores
from .objective import Objective, make_objective
from .own import check_group_loss, check_label_func, load_function, name_of


__all__ = [
    "DEGENERATE_GROUPS",
    "LOSS_TYPES",
    "LabelRule",
    "Objective",
    "check_group_loss",
    "check_label_func",
    "check_options",
    "group_losses",
    "group_shares",
    "load_function",
    "make_label_rule",
    "make_objective",
    "name_of",
    "score_weights",
    "sequence_scores",
]
