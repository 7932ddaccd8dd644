"""Custom losses and labels: what is accepted, and the error for every way to break the contract."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import softplus

from docs.examples.own_objective import all_pairs, quarters, smoothed
from trl_real.objective import check_group_loss, check_label_func, load_function, make_objective


NAN = math.nan
HERE = "tests.objective.test_own"
AT_ZERO = torch.zeros(1, 4)


def mixed(labels: torch.Tensor) -> torch.Tensor:
    return (labels == 1).any(1) & (labels == 0).any(1)


def contrast(scores, labels):
    """Sum over the incorrect minus sum over the correct rollouts (N,)."""
    return (scores * (labels == 0)).sum(1) - (scores * (labels == 1)).sum(1)


def one_class(scores, labels):
    return softplus(contrast(scores, labels))


def gap(scores, labels):
    """Hinge-free contrast of the sums of both classes, of mixed groups alone."""
    return one_class(scores, labels) * mixed(labels)


def every_class(scores, labels):
    """Pushes correct rollouts up and incorrect ones down in every group that has either."""
    return one_class(scores, labels)


every_class.trained_groups = lambda labels: ~labels.isnan().all(1)


def changes_labels(scores, labels):
    return gap(scores, labels.nan_to_num_(nan=0.5))


def infinite_slope(scores, labels):
    """At score 0 alone."""
    return (contrast(scores, labels).square() + ~mixed(labels)).sqrt() * mixed(labels)


def marked(trained_groups: Callable, weight: float = 1.0) -> Callable:
    """A loss that says which groups it trains."""

    def loss(scores, labels):
        return weight * gap(scores, labels)

    loss.trained_groups = trained_groups
    return loss


def nan_counts(scores, labels):
    return gap(scores, labels) + 0.1 * scores.masked_fill(~labels.isnan(), 0.0).sum(1)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("loss", [gap, every_class, all_pairs, smoothed])
def test_a_loss_that_keeps_the_contract_is_taken_for_groups_of_any_size(loss: Callable, size: int) -> None:
    check_group_loss(loss, size)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda scores, labels: gap(scores, labels) - gap(scores, labels).mean(), ["must depend on that group alone"]),
        (lambda scores, labels: gap(scores, labels) / len(scores), ["must depend on that group alone"]),
        (lambda scores, labels: gap(scores, labels).sum(), ["returned shape ()", "groups"]),
        (lambda scores, labels: softplus(scores) * (labels == 0), ["returned shape (7, 4) for 7 groups"]),
        (
            lambda scores, labels: one_class(scores, labels) / mixed(labels),
            ["must be finite", "Labels [1.0, nan, nan, nan]"],
        ),
        (infinite_slope, ["gradients must be finite", "loss 0 ", "nan"]),
        (
            lambda scores, labels: gap(scores.detach(), labels),
            ["gradient with respect to the scores is 0 in every group"],
        ),
        (
            marked(lambda labels: labels.isnan().all(1) & False, weight=0.0),
            ["gradient with respect to the scores is 0 in every group"],
        ),
        (lambda scores, labels: softplus((scores * (labels != 1)).sum(1)), ["gradient in a rollout without a label"]),
        (nan_counts, ["gradient in a rollout without a label"]),
        (one_class, ["gradient in a group that is not trained", "`trained_groups`", "Labels [1.0, nan, nan, nan]"]),
        (lambda scores, labels: scores @ labels, ["the function failed (RuntimeError"]),
        (marked(lambda labels: labels == 1), ["`trained_groups` must turn labels (N, G) into booleans (N,)"]),
        (marked(lambda labels: labels.no_such_thing), ["`trained_groups` failed (AttributeError"]),
    ],
)
def test_a_loss_that_breaks_the_contract_is_told_what_it_broke(loss: Callable, words: list[str]) -> None:
    with pytest.raises(ValueError, match="`loss_type`") as error:
        check_group_loss(loss, 4)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("field", ["loss_type", "label_func"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no_such_package.losses:mine", ["'no_such_package.losses:mine'", "ModuleNotFoundError", "current folder"]),
        (f"{HERE}:no_such_loss", ["AttributeError", "no_such_loss", "package.module:function"]),
        (f"{HERE}:", ["package.module:function"]),
        (f"{HERE}:AT_ZERO", ["is a Tensor, not a function"]),
        (lambda scores, labels: scores.sum(1), ["cannot be saved with checkpoints", "top level of a module"]),
    ],
)
def test_a_function_that_cannot_be_had_again_is_named(field: str, value: str | Callable, words: list[str]) -> None:
    with pytest.raises(ValueError, match=f"`{field}`") as error:
        load_function(field, value)
    assert all(word in str(error.value) for word in words)


def test_a_function_is_taken_as_it_is_or_by_its_path() -> None:
    assert load_function("loss_type", gap) is gap and load_function("loss_type", f"{HERE}:gap") is gap


@pytest.mark.parametrize("loss", [gap, one_class, nan_counts])
def test_rollouts_that_are_not_trained_have_no_part_whatever_their_scores(loss: Callable) -> None:
    """Not even with a loss that breaks its contract unnoticed."""
    labels = torch.tensor([[1.0, 0.0, NAN, 1.0], [1.0, 1.0, 1.0, NAN], [NAN] * 4])
    scores = torch.randn(labels.shape, generator=torch.Generator().manual_seed(0))
    elsewhere = torch.tensor([[0.0, 0.0, NAN, 0.0], [9.0, -9.0, 1e4, NAN], [NAN] * 4])
    objective = make_objective(0.5, loss, "drop", None)
    assert objective.informative(labels).tolist() == [[True, True, False, True], [False] * 4, [False] * 4]
    weights, shares = objective.weigh(scores, labels)
    assert (weights[~objective.informative(labels)] == 0).all() and weights[0, 0] < 0 < weights[0, 1]
    assert shares.sum(1).tolist() == pytest.approx([*gap(scores[:1], labels[:1]).tolist(), 0.0, 0.0])
    for first, second in zip((weights, shares), objective.weigh(scores + elsewhere, labels), strict=True):
        assert torch.equal(first, second)


def test_the_attribute_says_which_groups_are_trained() -> None:
    labels = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, NAN], [NAN] * 3])
    objective = make_objective(0.5, every_class, "drop", None)
    assert objective.informative(labels).tolist() == [[True] * 3, [True, True, False], [False] * 3]
    assert objective.weigh(torch.zeros(3, 3), labels)[0].tolist() == [[-0.5, 0.5, -0.5], [-0.5, -0.5, 0], [0, 0, 0]]


def test_a_function_that_writes_into_its_labels_writes_into_a_copy() -> None:
    labels = torch.tensor([[1.0, 0.0, NAN, 1.0]])
    make_objective(0.5, changes_labels, "drop", None).weigh(torch.zeros(1, 4), labels)
    assert labels.isnan().tolist() == [[False, False, True, False]]


def products(scores, labels):
    """A contrast by a product of matrices, which autocast would compute in bfloat16."""
    signs = (labels == 0).float() - (labels == 1).float()
    return softplus(signs[:, None, :] @ scores[:, :, None])[:, 0, 0] * mixed(labels)


def test_losses_are_computed_in_float32_under_autocast() -> None:
    scores, labels = torch.tensor([[0.1234567, -0.7654321, 0.3]]), torch.tensor([[1.0, 0.0, 1.0]])
    objective = make_objective(0.5, products, "drop", None)
    expected = objective.weigh(scores, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(
            torch.equal(first, second) for first, second in zip(objective.weigh(scores, labels), expected, strict=True)
        )


def test_a_weight_is_known_where_gradients_are_off() -> None:
    with torch.no_grad():
        weights, _ = make_objective(0.5, gap, "drop", None).weigh(AT_ZERO, torch.tensor([[1.0, 0.0, 1.0, NAN]]))
    assert weights.tolist() == [[-0.5, 0.5, -0.5, 0.0]] and not weights.requires_grad


def writes_into_rewards(rewards):
    return (rewards.nan_to_num_(nan=1.0) > 0.5).float()


@pytest.mark.parametrize(
    ("label_func", "words"),
    [
        (lambda rewards: (rewards > 0.5).float()[:, :1], ["labels of the shape of the rewards, (3, 8)", "(3, 1)"]),
        (lambda rewards: rewards.nan_to_num(0.25), ["must be 1, 0 or NaN", "one is 0."]),
        (lambda rewards: rewards > "0.5", ["the function failed (TypeError"]),
        (lambda rewards: (torch.rand(rewards.shape) > 0.5).float(), ["the same labels for the same rewards"]),
    ],
)
def test_a_label_function_that_breaks_the_contract_is_refused(label_func: Callable, words: list[str]) -> None:
    with pytest.raises(ValueError, match="`label_func`") as error:
        check_label_func(label_func, 8)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("label_func", [quarters, writes_into_rewards])
def test_a_label_function_that_keeps_the_contract_is_taken(label_func: Callable) -> None:
    check_label_func(label_func, 8)
