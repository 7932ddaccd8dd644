"""Fig. 4 and Fig. 5 of the paper: training curves of one run or several, smoothed if they have many points."""

import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .run_log import Run
from .style import BLUE, LOOKS, PALE, VERMILLION, figure_title, new_figure, note_missing


GROUP_SHARES = (
    ("all correct", "groups/all_correct", BLUE),
    ("mixed", "groups/mixed", PALE),
    ("all incorrect", "groups/all_incorrect", VERMILLION),
)
BELOW: dict[str, Any] = dict(loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)  # a legend below its panel
SMOOTH_FROM = 40  # points; fewer are drawn as they are
ENTROPY = ("entropy", "Entropy of the policy (nats per token)")
REWARD = ("reward", "Reward of the rollouts")
HELDOUT = ("eval_reward", "Held-out pass@1 (mean reward)")
# GRPOTrainer logs the second only
SOLVED = (
    ("groups/all_correct", "All-correct groups (share)"),
    ("frac_reward_zero_std", "Groups with equal rewards (share)"),
)


def plot_training(runs: list[Run], path: str | Path, eval_set: str | None = None) -> None:
    """
    Writes Fig. 4 to `path`: entropy, held-out pass@1, reward and all-correct groups.

    Args:
        runs (`list[Run]`):
            The runs. For a single run of REALTrainer, all kinds of groups are shown.
        path (`str` or `Path`):
            A PNG, PDF or SVG file.
        eval_set (`str`, *optional*):
            Name of the evaluation set, if there were several.
    """
    with new_figure(path, 9, 6, figure_title("Training", runs)) as figure:
        draw_training(figure, runs, eval_set)


def plot_comparison(runs: list[Run], path: str | Path, eval_set: str | None = None) -> None:
    """Writes Fig. 5 to `path`: reward and held-out pass@1, with last values. Arguments as in [`plot_training`]."""
    with new_figure(path, 9, 3.8, figure_title("Comparison", runs)) as figure:
        draw_comparison(figure, runs, eval_set)


def draw_training(figure: Figure, runs: list[Run], eval_set: str | None = None) -> None:
    """Draws Fig. 4 into an empty figure."""
    check_number(runs)
    (entropy, heldout), (reward, groups) = figure.subplots(2, 2)
    draw_lines(entropy, runs, *ENTROPY)
    draw_lines(heldout, runs, *heldout_panel(runs, eval_set))
    draw_lines(reward, runs, *REWARD)
    if len(runs) == 1 and all(runs[0].logs(key) for _, key, _ in GROUP_SHARES):
        _draw_shares(groups, runs[0])
    else:
        shared = [panel for panel in SOLVED if all(run.logs(panel[0]) for run in runs)]
        draw_lines(groups, runs, *(shared or SOLVED)[0])
    _finish(figure, runs, (reward, groups))
    if len(runs) > 1:
        handles = [_handle(index, run.name) for index, run in enumerate(runs)]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def draw_comparison(figure: Figure, runs: list[Run], eval_set: str | None = None) -> None:
    """Draws Fig. 5 into an empty figure."""
    check_number(runs)
    panels = figure.subplots(1, 2)
    for axes, (key, title) in zip(panels, (REWARD, heldout_panel(runs, eval_set)), strict=True):
        last = draw_lines(axes, runs, key, title)
        handles = [
            _handle(index, f"{run.name}  {last[run.name]:.3f}{_last_error(run, key)}")
            for index, run in enumerate(runs)
            if run.name in last
        ]
        if handles:
            axes.legend(handles=handles, title="Last value of the line", ncols=2, **BELOW)
    _finish(figure, runs, panels)


def check_number(runs: list[Run]) -> None:
    """Raises `ValueError` if there are more runs than looks."""
    if len(runs) > len(LOOKS):
        raise ValueError(f"runs: more than {len(LOOKS)} cannot be told apart in one figure, got {len(runs)}.")


def heldout_panel(runs: list[Run], eval_set: str | None) -> tuple[str, str]:
    """Key and title of the held-out reward; `ValueError` if `eval_set` does not name one that was logged."""
    keys = {key for run in runs for record in run.log for key in record}
    logged = {key.removeprefix("eval").removesuffix("reward").strip("_") for key in keys if _is_heldout(key)}
    if eval_set is None and len(logged) > 1:
        raise ValueError(f"eval_set: several sets were evaluated; name one of {', '.join(sorted(logged))}.")
    if eval_set is not None and eval_set not in logged:
        raise ValueError(f"eval_set: {eval_set} was not evaluated, only {', '.join(sorted(logged)) or 'nothing'}.")
    name = eval_set or next(iter(logged), "")
    return (f"eval_{name}_reward", f"Held-out pass@1 on {name} (mean reward)") if name else HELDOUT


def _is_heldout(key: str) -> bool:
    return key.startswith("eval_") and key.endswith("reward") and "/" not in key


def draw_lines(axes: Axes, runs: list[Run], key: str, title: str) -> dict[str, float]:
    """Draws a line for each run; returns the last value of each line."""
    axes.set_title(title)
    last, drawn = {}, []
    for run, look in zip(runs, LOOKS, strict=False):
        steps, values = run.series(key)
        if not values:
            continue
        drawn += [*values, *_draw_errors(axes, run, key, look["color"])]
        if len(values) >= SMOOTH_FROM:
            axes.plot(steps, values, color=look["color"], alpha=0.25, linewidth=0.8)
            values = smooth(values, len(values) // 10)
            axes.plot(steps, values, color=look["color"], linestyle=look["linestyle"], linewidth=2)
        else:
            axes.plot(steps, values, **look, linewidth=2, clip_on=False)
        last[run.name] = values[-1]
    missing = [run.name for run in runs if run.name not in last]
    if missing:
        note_missing(axes, missing if last else [])
    _limit(axes, drawn, is_share=key != ENTROPY[0])
    return last


def _draw_errors(axes: Axes, run: Run, key: str, color: str) -> np.ndarray:
    """Draws bars of one standard error each way, or a band for many points; returns the upper ends."""
    steps, logged = run.series(f"{key}_stderr")
    at_step = dict(zip(*run.series(key), strict=True))
    values, errors = np.array([at_step[step] for step in steps]), np.array(logged)
    if len(steps) >= SMOOTH_FROM:
        axes.fill_between(steps, values - errors, values + errors, color=color, alpha=0.12, linewidth=0)
    elif steps:
        axes.errorbar(steps, values, errors, fmt="none", ecolor=color, elinewidth=1, capsize=3, clip_on=False)
    return np.maximum(values, np.minimum(values + errors, 1.0))  # a share is at most 1


def _last_error(run: Run, key: str) -> str:
    """The last standard error, for a legend; empty if the line is smoothed, which has another error."""
    errors = run.series(f"{key}_stderr")[1]
    return f" ± {errors[-1]:.3f}" if errors and len(run.series(key)[1]) < SMOOTH_FROM else ""


def smooth(values: list[float], span: int) -> list[float]:
    """Exponential moving average over about `span` values, without bias towards the first value."""
    return pd.Series(values).ewm(span=span).mean().tolist()


def _limit(axes: Axes, values: list[float], is_share: bool) -> None:
    """Shares from 0 to the tenth above them; other values from 0 unless that would leave half the panel empty."""
    if not values or (is_share and all(0 <= value <= 1 for value in values)):
        axes.set_ylim(0, max(2, math.ceil(10 * max(values))) / 10 if values else 1)
    elif 0 < min(values) < max(values) / 2:
        axes.set_ylim(bottom=0)


def _draw_shares(axes: Axes, run: Run) -> None:
    """Areas for many points; otherwise a bar for each generation, as wide as its optimizer steps."""
    axes.set_title("Groups of rollouts (share)")
    axes.set_ylim(0, 1)
    steps = run.series(GROUP_SHARES[0][1])[0]
    names, keys, colors = zip(*GROUP_SHARES, strict=True)
    shares = [run.series(key)[1] for key in keys]
    if len(steps) >= SMOOTH_FROM:
        smoothed = [smooth(values, len(steps) // 10) for values in shares]
        axes.stackplot(steps, smoothed, colors=colors, labels=names, edgecolor="white")
    else:
        width = min((later - step for step, later in pairwise(steps)), default=1)
        edges, bottoms = np.array(steps) - 1, np.zeros(len(steps))
        for name, color, values in zip(names, colors, shares, strict=True):
            axes.bar(edges, values, width, bottoms, align="edge", color=color, label=name, edgecolor="white")
            bottoms = bottoms + values
    axes.legend(ncols=3, **BELOW)


def _handle(index: int, name: str) -> Line2D:
    return Line2D([], [], **LOOKS[index], linewidth=2, label=name)


def _finish(figure: Figure, runs: list[Run], lowest: Iterable[Axes]) -> None:
    last = max((record["step"] for run in runs for record in run.log), default=0)
    for axes in figure.axes:
        axes.set_xlim(0, max(last, 1))
    for axes in lowest:
        axes.set_xlabel("optimizer step")
