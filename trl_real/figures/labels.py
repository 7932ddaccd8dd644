"""
What is labelled: which rewards became right rollouts, which wrong ones, and which have no label.

In: the tables of completions that a run of REALTrainer writes with `log_completions`. Out: the shares of the labels
over the run, and the rewards of each. Left out: the groups, whose mixture `training.py` shows.
"""

from contextlib import suppress
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .run_log import read_run
from .style import BLUE, PALE, VERMILLION


NOT_REWARDS = ("step", "prompt", "completion", "advantage", "label", "weight")
KINDS = (("right", 1.0, BLUE), ("no label", None, PALE), ("wrong", 0.0, VERMILLION))
BINS = 21


def read_completions(run: Path) -> pd.DataFrame:
    """
    The rollouts of all generations of a run, each once, with the first step that was logged with it. Those of an
    evaluation, which TRL writes in place of the step's, are left out.

    Raises:
        `FileNotFoundError`: If the run wrote no tables.
        `ValueError`: If they are of a trainer without labels.
    """
    files = sorted(run.glob("completions/completions_*.parquet"))
    if not files:
        raise FileNotFoundError(f"{run} holds no completions/*.parquet: train with log_completions=True.")
    tables: list[pd.DataFrame] = []
    for table in map(pd.read_parquet, files):
        if "label" not in table:
            raise ValueError(f"{run}: its completions have no labels. REALTrainer writes them; GRPOTrainer has none.")
        if not tables or not table.drop(columns="step").equals(tables[-1].drop(columns="step")):
            tables.append(table)
    evaluated = evaluated_steps(run)
    sampled = [table for table in tables if not set(table["step"]) <= evaluated]
    if not sampled:
        raise ValueError(f"{run}: its tables of completions are all of evaluations; train for more steps.")
    return pd.concat(sampled, ignore_index=True)


def evaluated_steps(run: Path) -> set[int]:
    """The steps after which a run was evaluated; that before the training alone, if it left no log."""
    log = []
    with suppress(FileNotFoundError):
        log = read_run(run).log
    return {0} | {record["step"] for record in log if any(name.startswith("eval_") for name in record)}


def reward_column(rollouts: pd.DataFrame, name: str | None) -> str:
    """
    The reward to show.

    Raises:
        `ValueError`: If there is none of that name, or none is named and there are several.
    """
    names = [column for column in rollouts.columns if column not in NOT_REWARDS]
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        raise ValueError(f"reward: name one of {', '.join(names)}{'' if name is None else f'; there is no {name}'}.")
    return name


def draw_labels(figure: Figure, rollouts: pd.DataFrame, reward: str) -> None:
    """
    Draws shares over the run, and a histogram of rewards.

    Args:
        figure (`Figure`):
            An empty figure.
        rollouts (`DataFrame`):
            As [`read_completions`] gives them.
        reward (`str`):
            Column of the reward.
    """
    over_run, spread = figure.subplots(1, 2)
    for axes in (over_run, spread):
        axes.grid(False)
    _draw_shares(over_run, rollouts)
    spread.hist(
        [_of(rollouts, label)[reward].dropna() for _, label, _ in KINDS],
        bins=BINS,
        stacked=True,
        color=[colour for _, _, colour in KINDS],
        edgecolor="white",
    )
    spread.set_title("Rewards of all rollouts")
    spread.set_xlabel(reward)
    spread.set_ylabel("rollouts")
    figure.legend(*over_run.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)


def _draw_shares(axes: Axes, rollouts: pd.DataFrame) -> None:
    """One bar for every generation, of equal width: they need not be equally many steps apart."""
    steps = sorted(rollouts["step"].unique())
    sizes, below = rollouts.groupby("step").size(), pd.Series(0.0, index=steps)
    for name, label, colour in KINDS:
        shares = _of(rollouts, label).groupby("step").size().reindex(steps, fill_value=0) / sizes
        axes.bar(range(1, len(steps) + 1), shares, 1.0, below, color=colour, edgecolor="white", label=name)
        below = below + shares
    axes.set_title("Labels (share of the rollouts)")
    axes.set_xlim(0.5, len(steps) + 0.5)
    axes.set_ylim(0, 1)
    axes.set_xlabel("generation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _of(rollouts: pd.DataFrame, label: float | None) -> pd.DataFrame:
    return rollouts[rollouts["label"].isna() if label is None else rollouts["label"] == label]
