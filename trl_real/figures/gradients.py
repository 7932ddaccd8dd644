"""
Fig. 1 of the paper: the gradient magnitude of a rollout, against how much more likely it has become.

REAL's weights are those the trainer uses (Eq. 9); GRPO's are differentiated from its clipped objective (Eq. 1, Eq. 3)
with |A| = 1.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..objective.losses import LOSS_TYPES, check_options, score_weights
from .style import LOOKS, VERMILLION, new_figure


REACH = 1.5  # scores from -REACH to REACH, in nats
NAMES = dict(zip(LOSS_TYPES, ("REAL", "REAL without anchors", "REAL with BCE"), strict=True))
REAL_LOOKS = [look for look in LOOKS if look["color"] != VERMILLION]


@dataclass(frozen=True)
class GradientOptions:
    """What Fig. 1 shows; the defaults are the paper's."""

    taus: tuple[float, ...] = (0.5,)  # temperatures of REAL; a line for each
    loss_types: tuple[str, ...] = ("real",)  # losses of REAL; a line for each
    correct: int = 4  # rollouts in the group; all except the drawn one are at score 0
    incorrect: int = 4
    epsilon: float = 0.2  # clipping range of GRPO

    def __post_init__(self):
        for tau in self.taus:
            for loss_type in self.loss_types:
                check_options(tau, loss_type, "drop")
        if len(self.taus) * len(self.loss_types) > len(REAL_LOOKS):
            raise ValueError(f"tau: more than {len(REAL_LOOKS)} lines of REAL cannot be told apart; write fewer.")
        if self.correct < 1 or self.incorrect < 1:
            raise ValueError("correct, incorrect: write 1 or more for each; without both a group has no gradient.")
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon: must be between 0 and 1 (the paper uses 0.2), got {self.epsilon}.")


def real_magnitude(
    scores: torch.Tensor, label: float, tau: float, loss_type: str, correct: int, incorrect: int
) -> torch.Tensor:
    """|∂L/∂s| of one rollout with this label at each of the scores (N,), the rest of its group at score 0."""
    labels = torch.tensor([1.0] * correct + [0.0] * incorrect).expand(len(scores), -1)
    table = torch.zeros(labels.shape, dtype=scores.dtype)
    column = 0 if label == 1 else correct
    table[:, column] = scores
    return score_weights(table, labels, tau, loss_type)[:, column].abs()


def grpo_magnitude(scores: torch.Tensor, advantage: float, epsilon: float) -> torch.Tensor:
    """|∂J/∂s| of one token at each of the relative log-probabilities (N,), for GRPO's clipped objective."""
    scores = scores.detach().clone().requires_grad_()
    ratio = scores.exp()
    objective = torch.min(ratio * advantage, ratio.clamp(1 - epsilon, 1 + epsilon) * advantage)
    return torch.autograd.grad(objective.sum(), scores)[0].abs()


def plot_gradients(path: str | Path, options: GradientOptions | None = None) -> None:
    """Writes Fig. 1 to `path`; the default options are the paper's."""
    with new_figure(path, 9, 4, "Gradient magnitude of GRPO and REAL") as figure:
        draw_gradients(figure, options or GradientOptions())


def draw_gradients(figure: Figure, options: GradientOptions) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    titles = (f"(a) One of {options.correct} correct rollouts", f"(b) One of {options.incorrect} incorrect rollouts")
    for axes, label, title in zip(panels, (1.0, 0.0), titles, strict=True):
        _draw_panel(axes, label, options)
        axes.set_title(title)
        axes.set_xlabel("relative log-probability (nats)\n$s_t$ of a token (GRPO), $\\bar{s}$ of a rollout (REAL)")
        axes.set_xlim(-REACH, REACH)
    panels[0].set_ylabel("gradient magnitude  $|\\mathcal{W}|$")
    panels[0].set_ylim(bottom=0)
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=4, frameon=False)


def _draw_panel(axes: Axes, label: float, options: GradientOptions) -> None:
    scores = torch.linspace(-REACH, REACH, 1201, dtype=torch.float64)
    magnitude = grpo_magnitude(scores, 1.0 if label == 1 else -1.0, options.epsilon)
    name = f"GRPO, $\\varepsilon$ = {options.epsilon:g}, $|A|$ = 1"
    axes.plot(scores, magnitude, color=VERMILLION, linestyle="--", linewidth=2, label=name)
    curves = [(tau, loss_type) for loss_type in options.loss_types for tau in options.taus]
    for (tau, loss_type), look in zip(curves, REAL_LOOKS, strict=False):
        magnitude = real_magnitude(scores, label, tau, loss_type, options.correct, options.incorrect)
        name = f"{NAMES[loss_type]}, $\\tau$ = {tau:g}"
        axes.plot(scores, magnitude, color=look["color"], linestyle=look["linestyle"], linewidth=2, label=name)
    for index, tau in enumerate(options.taus):
        bound = "REAL's bound $1/\\tau$" if index == 0 else None
        axes.axhline(1 / tau, color="0.35", linestyle=":", linewidth=1.2, label=bound)
