"""
The picture of a run, from the trainer's log alone.

In: `trainer_state.json` (or its folder, or `trainer.state.log_history`). Out: a PNG, PDF or SVG file with four
panels over the optimizer steps: reward, held-out pass@1, group shares, entropy. Left out: comparisons of several runs.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from matplotlib.axes import Axes

Log = list[dict[str, Any]]

# Okabe and Ito's palette: told apart by colour-blind readers, and by brightness in a black-and-white print
BLUE, VERMILLION, GREEN, PALE = "#0072B2", "#D55E00", "#009E73", "#E4E4E4"
GROUP_SHARES = (("all right", BLUE), ("mixed", PALE), ("all wrong", VERMILLION))
SMOOTH_FROM = 40  # fewer points than this are drawn as they are


def plot_training(source: Log | str | Path, path: str | Path, title: str = "REAL training") -> Path:
    """
    Draws the picture of a training run.

    Args:
        source (`list[dict]` or `str` or `Path`):
            `trainer.state.log_history`, a `trainer_state.json`, or the `output_dir` of a run (with the state saved at
            the end, or that of its last checkpoint).
        path (`str` or `Path`):
            File to write; its suffix decides the format.
        title (`str`, *optional*, defaults to `"REAL training"`):
            Title of the picture.

    Returns:
        `Path`: the file written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Figures need matplotlib. Run: pip install 'trl-real[plots]'") from error

    log = source if isinstance(source, list) else read_log(Path(source))
    figure = Figure(figsize=(9, 6), dpi=150, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    (reward, heldout), (groups, entropy) = figure.subplots(2, 2)
    _draw_curve(reward, log, "reward", "Reward of the rollouts", BLUE)
    _draw_curve(heldout, log, "eval_reward", "Held-out pass@1 (mean reward)", GREEN)
    _draw_shares(groups, log)
    _draw_curve(entropy, log, "entropy", "Entropy of the policy (nats per token)", VERMILLION)
    last = max((record["step"] for record in log), default=1)
    for axes in (reward, heldout, groups, entropy):
        _finish_panel(axes, last)
    for axes in (groups, entropy):
        axes.set_xlabel("optimizer step", fontsize=9)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    figure.savefig(path, facecolor="white")
    return Path(path)


def read_log(source: Path) -> Log:
    """The log history in a `trainer_state.json`, or in the newest one of a run's `output_dir`."""
    states = [source]
    if source.is_dir():
        checkpoints = sorted(source.glob("checkpoint-*/trainer_state.json"), key=lambda state: state.stat().st_mtime)
        states = [*checkpoints, *source.glob("trainer_state.json")]
    if not states or not states[-1].is_file():
        raise FileNotFoundError(f"{source} holds no trainer_state.json: no checkpoint was saved there yet.")
    return json.loads(states[-1].read_text())["log_history"]


def smooth(values: list[float], span: int) -> list[float]:
    """Exponential moving average over about `span` values, without the pull towards its first value."""
    keep, total, weight, smoothed = 1 - 2 / (span + 1), 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        smoothed.append(total / weight)
    return smoothed


def _series(log: Log, key: str) -> tuple[list[int], list[float]]:
    points = [(record["step"], record[key]) for record in log if record.get(key) is not None]
    return [step for step, _ in points], [value for _, value in points]


def _draw_curve(axes: "Axes", log: Log, key: str, title: str, colour: str) -> None:
    steps, values = _series(log, key)
    axes.set_title(title, fontsize=10)
    if len(values) >= SMOOTH_FROM:
        axes.plot(steps, values, color=colour, alpha=0.3, linewidth=1)
        axes.plot(steps, smooth(values, len(values) // 10), color=colour, linewidth=2)
    elif values:
        axes.plot(steps, values, color=colour, linewidth=2, marker="o", markersize=4, clip_on=False)
    else:
        _say_missing(axes)
    if key.endswith("reward") and values and min(values) >= 0 and max(values) <= 1:
        axes.set_ylim(0, 1)
    elif values:
        axes.set_ylim(bottom=min(0, *values) if len(values) > 1 else None)


def _draw_shares(axes: "Axes", log: Log) -> None:
    shares = [_series(log, f"groups/{name.replace(' ', '_')}") for name, _ in GROUP_SHARES]
    axes.set_title("Groups of rollouts", fontsize=10)
    axes.set_ylim(0, 1)
    steps = shares[0][0]
    if not steps or any(series[0] != steps for series in shares):
        _say_missing(axes)
        return
    _stack(axes, steps, [series[1] for series in shares])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, fontsize=8, frameon=False)


def _stack(axes: "Axes", steps: list[int], shares: list[list[float]]) -> None:
    """Areas where there are many points; else one bar for each generation, as wide as the steps it was trained on."""
    names, colours = zip(*GROUP_SHARES, strict=True)
    if len(steps) >= SMOOTH_FROM:
        smoothed = [smooth(values, len(steps) // 10) for values in shares]
        axes.stackplot(steps, smoothed, colors=colours, labels=names, edgecolor="white")
        return
    width = min((later - step for step, later in pairwise(steps)), default=1)
    below = [0.0] * len(steps)
    for name, colour, values in zip(names, colours, shares, strict=True):
        edges = [step - 1 for step in steps]
        axes.bar(edges, values, width, below, align="edge", color=colour, label=name, edgecolor="white")
        below = [bottom + value for bottom, value in zip(below, values, strict=True)]


def _say_missing(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", va="center", color="0.4")


def _finish_panel(axes: "Axes", last: int) -> None:
    axes.set_xlim(0, last)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
