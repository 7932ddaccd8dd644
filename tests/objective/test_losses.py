"""The objective against the paper: values, gradients, bounds and monotonicity of the weights, extremes, arguments."""

import math

import pytest
import torch

from tests.objective import reference
from trl_real import group_losses, score_weights, sequence_scores
from trl_real.objective import DEGENERATE_GROUPS, LOSS_TYPES


OPTIONS = [
    dict(tau=tau, loss_type=loss_type, degenerate_groups=degenerate_groups, score_clip=clip)
    for tau in (0.1, 0.5, 1.0)
    for loss_type in LOSS_TYPES
    for degenerate_groups in DEGENERATE_GROUPS
    for clip in (None, 0.3)
]
each_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))


def random_groups(seed: int, groups: int = 40, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 scores and labels with every kind of group in it: mixed, one class, partly and wholly unlabelled."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(groups, size, generator=generator, dtype=torch.float64)
    labels = (torch.rand(groups, size, generator=generator) > 0.5).double()
    labels[torch.rand(groups, size, generator=generator) < 0.2] = torch.nan
    labels[0], labels[1], labels[2], labels[3, 1:] = 1.0, 0.0, torch.nan, torch.nan
    return scores, labels


@each_option
def test_losses_are_those_of_the_paper(options):
    scores, labels = random_groups(seed=1)
    losses = group_losses(scores, labels, **options)
    expected = [reference.group_loss(s, y, **options) for s, y in zip(scores, labels.tolist(), strict=True)]
    assert losses.dtype == torch.float64
    torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-10, atol=1e-10)


@each_option
def test_weights_are_the_gradient(options):
    scores, labels = random_groups(seed=2)
    groups = zip(scores.tolist(), labels.tolist(), strict=True)
    expected = torch.tensor([reference.group_weights(*group, **options) for group in groups], dtype=torch.float64)
    scores.requires_grad_()
    group_losses(scores, labels, **options).sum().backward()
    weights = score_weights(scores, labels, **options)
    torch.testing.assert_close(weights, expected, rtol=1e-10, atol=1e-12)
    assert not weights.requires_grad
    torch.testing.assert_close(weights, scores.grad, rtol=1e-10, atol=1e-12)
    assert (weights[labels.isnan()] == 0).all()
    assert (weights[labels == 1] <= 0).all() and (weights[labels == 0] >= 0).all()


def test_hand_worked_group():
    # Two positives and one negative at score 0, tau 0.5: log(1 + 2) + log(1 + 1); weights -2/3, -2/3, +1
    scores, labels = torch.zeros(1, 3), torch.tensor([[1.0, 1.0, 0.0]])
    assert group_losses(scores, labels).item() == pytest.approx(math.log(3) + math.log(2))
    assert score_weights(scores, labels)[0].tolist() == pytest.approx([-2 / 3, -2 / 3, 1.0])
    # bce: mean of log 2; weights of size sigma(0) / 0.5 / 3
    assert group_losses(scores, labels, loss_type="bce").item() == pytest.approx(math.log(2))
    assert score_weights(scores, labels, loss_type="bce")[0].tolist() == pytest.approx([-1 / 3, -1 / 3, 1 / 3])
    # no anchor: log(1 + 2 * 1); weights -2/3 * 1/2 / 0.5 each and +2/3 / 0.5
    assert group_losses(scores, labels, loss_type="real_no_anchor").item() == pytest.approx(math.log(3))
    weights = score_weights(scores, labels, loss_type="real_no_anchor")[0].tolist()
    assert weights == pytest.approx([-2 / 3, -2 / 3, 4 / 3])


@pytest.mark.parametrize("label", [1.0, 0.0])
@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0])
def test_weights_are_bounded_and_monotone(tau, label):
    """Eq. 9; Proposition 5.1: below 1/tau, falling with the score of a positive, rising with that of a negative."""
    grid = torch.linspace(-20, 20, 401, dtype=torch.float64)
    others = torch.tensor([0.4, -0.7, 0.1], dtype=torch.float64).expand(len(grid), 3)
    labels = torch.tensor([label, 1.0, 0.0, label], dtype=torch.float64).expand(len(grid), 4)
    scores = torch.cat([grid[:, None], others], 1)
    size = score_weights(scores, labels, tau)[:, 0].abs()
    terms = (scores * (-1 if label == 1.0 else 1) / tau).exp() * (labels == label)
    torch.testing.assert_close(size, terms[:, 0] / tau / (1 + terms.sum(1)), rtol=1e-10, atol=1e-12)
    assert (size <= 1 / tau).all() and size.max() > 0.99 / tau
    change = size.diff() * (-1 if label == 1.0 else 1)
    assert (change >= 0).all()
    assert (change[grid[1:].abs() < 10 * tau] > 0).all()  # strictly, away from where float64 saturates


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_option
def test_extreme_scores_stay_finite(options, dtype):
    scores = torch.tensor([[1e4, -1e4, 1e4, -1e4], [-1e4, -1e4, 1e4, 1e4], [1e4, -1e4, 0.0, 0.0]], dtype=dtype)
    labels = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 1.0, torch.nan, 1.0]], dtype=dtype)
    scores.requires_grad_()
    losses = group_losses(scores, labels, **options)
    losses.sum().backward()
    weights = score_weights(scores, labels, **options)
    assert losses.dtype == weights.dtype == dtype
    assert losses.isfinite().all() and weights.isfinite().all() and scores.grad.isfinite().all()
    assert (weights.abs() <= 1 / options["tau"] * (1 + 1e-6)).all()


def test_nan_scores_without_a_label_do_not_spread():
    scores = torch.tensor([[0.1, torch.nan, -0.2]], requires_grad=True)
    labels = torch.tensor([[1.0, torch.nan, 0.0]])
    loss = group_losses(scores, labels)
    loss.sum().backward()
    assert loss.isfinite().all() and scores.grad[0, 1] == 0 and scores.grad[0, 0] < 0 < scores.grad[0, 2]


def test_scores_are_means_over_counted_tokens():
    new = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, torch.nan]])
    old = torch.tensor([[-2.0, -1.5, 0.0], [0.0] * 3])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    scores = sequence_scores(new, old, mask)
    assert scores.tolist() == [(1 - 0.5) / 2, 0.0]
    assert sequence_scores(new.bfloat16(), old.bfloat16(), mask).dtype == torch.float32
    assert group_losses(scores.bfloat16()[None], torch.tensor([[1.0, 0.0]])).dtype == torch.float32
    new.requires_grad_()
    sequence_scores(new, old, mask).sum().backward()
    assert new.grad.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(tau=0.0), ["tau", "above 0"]),
        (dict(tau=math.nan), ["tau", "finite"]),
        (dict(tau="0.5"), ["tau", "number"]),
        (dict(loss_type="dapo"), ["loss_type", "'real_no_anchor'", "'bce'", "'dapo'"]),
        (dict(degenerate_groups="skip"), ["degenerate_groups", "'drop'", "'keep'"]),
        (dict(score_clip=0.0), ["score_clip", "above 0", "None"]),
        (dict(score_clip=math.inf), ["score_clip", "finite"]),
        (dict(score_clip="0.02"), ["score_clip", "number"]),
        (dict(labels=torch.full((2, 3), 0.5)), ["labels", "1.0", "NaN"]),
        (dict(labels=torch.ones(2, 4)), ["scores", "labels", "(N, G)"]),
        (dict(scores=torch.zeros(6), labels=torch.ones(6)), ["(N, G)"]),
    ],
)
@pytest.mark.parametrize("function", [group_losses, score_weights])
def test_invalid_arguments_are_named(function, arguments, words):
    with pytest.raises(ValueError) as error:
        function(**dict(scores=torch.zeros(2, 3), labels=torch.ones(2, 3)) | arguments)
    assert all(word in str(error.value) for word in words)


def test_scores_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"same shape \(B, T\)"):
        sequence_scores(torch.zeros(2, 3), torch.zeros(2, 2), torch.ones(2, 3))
