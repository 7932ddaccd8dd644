"""Fig. 1: the curves are the paper's, by numbers."""

import math
from typing import Any

import pytest
import torch


pytest.importorskip("matplotlib", reason="needs the extra `plots`")
from matplotlib.figure import Figure  # noqa: E402

from trl_real.figures.gradients import GradientOptions, draw_gradients, grpo_magnitude, real_magnitude  # noqa: E402


SCORES = torch.linspace(-40, 40, 4001, dtype=torch.float64)


@pytest.mark.parametrize(("correct", "incorrect"), [(4, 4), (1, 7)])
def test_real_is_equation_9_with_the_rest_of_the_group_at_zero(correct: int, incorrect: int) -> None:
    """C₊ = 1 + Σ e⁰ over the other correct rollouts = their number with the drawn one; 4 in the paper's figure."""
    scores, tau = torch.linspace(-2, 2, 41, dtype=torch.float64), 0.5
    for label, sign, count in ((1.0, 1, correct), (0.0, -1, incorrect)):
        expected = 1 / tau / (1 + count * (sign * scores / tau).exp())
        torch.testing.assert_close(real_magnitude(scores, label, tau, "real", correct, incorrect), expected)


def test_grpo_is_equation_3_misassigned_in_correct_and_unbounded_in_incorrect_rollouts() -> None:
    correct, incorrect = grpo_magnitude(SCORES, 1.0, 0.2), grpo_magnitude(SCORES, -1.0, 0.2)
    torch.testing.assert_close(correct, SCORES.exp() * (SCORES < math.log(1.2)))
    torch.testing.assert_close(incorrect, SCORES.exp() * (SCORES > math.log(0.8)))
    assert correct.max() < 1.2 and correct[SCORES < 0].diff().min() > 0  # the less likely, the smaller
    assert incorrect.max() > 1e17
    torch.testing.assert_close(grpo_magnitude(SCORES, -3.0, 0.2), 3 * incorrect)


def test_the_figure_has_the_paper_s_curves_in_both_panels() -> None:
    figure = Figure()
    draw_gradients(figure, GradientOptions())
    at_one = [2 / (1 + 4 * math.e**2), 2 / (1 + 4 / math.e**2)]  # τ = 0.5 and C = 4
    for axes, value in zip(figure.axes, at_one, strict=True):
        grpo, real, bound = axes.get_lines()
        places = [abs(real.get_xdata() - score).argmin() for score in (0, 1)]
        assert real.get_ydata()[places].tolist() == pytest.approx([0.4, value])
        assert grpo.get_ydata()[places[0]] == pytest.approx(1)
        assert list(bound.get_ydata()) == [2, 2]
    assert [axes.get_lines()[0].get_ydata().max() > 2 for axes in figure.axes] == [False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(taus=(0.5, -1.0)), "`tau` must be a finite number above 0"),
        (dict(loss_types=("dapo",)), "`loss_type` must be one of 'real'"),
        (dict(taus=(0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0)), "tau: more than 6 lines"),
        (dict(incorrect=0), "correct, incorrect: write 1 or more for each"),
        (dict(epsilon=1.0), "epsilon: must be between 0 and 1"),
    ],
)
def test_options_without_a_meaning_are_errors_that_name_them(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientOptions(**options)
