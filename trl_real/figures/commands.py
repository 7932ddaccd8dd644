"""
Figures of the paper from the log files of runs, one command each:

    python -m trl_real.figures gradients                     Fig. 1: gradient magnitude of GRPO and REAL
    python -m trl_real.figures training RUN [RUN ...]        Fig. 4: entropy, held-out pass@1, reward, solved groups
    python -m trl_real.figures compare RUN [RUN ...]         Fig. 5: reward and held-out pass@1, with the last values
    python -m trl_real.figures scores RUN                    histograms of scores and weights

A RUN is an `output_dir` or a `trainer_state.json`, of REALTrainer or of GRPOTrainer; `name=RUN` gives it a name.
`--output` takes a PNG, PDF or SVG file. Needs the extra `plots`. The drawing is in the other modules of this folder.
"""

import argparse
from pathlib import Path

from ..objective.losses import LOSS_TYPES
from .gradients import GradientOptions, draw_gradients
from .run_log import Run, read_run, read_runs
from .scores import draw_scores
from .style import new_figure
from .training import draw_comparison, draw_training


def plot_gradients(path: str | Path, options: GradientOptions | None = None, title: str | None = None) -> None:
    """Writes Fig. 1 to `path`; the default options are the paper's."""
    with new_figure(path, 9, 4, title or "Gradient magnitude of GRPO and REAL") as figure:
        draw_gradients(figure, options or GradientOptions())


def plot_training(runs: list[Run], path: str | Path, title: str | None = None, eval_set: str | None = None) -> None:
    """Writes Fig. 4 of one run or several to `path`; `eval_set` names the evaluation set if there were several."""
    with new_figure(path, 9, 6, title or _title("Training", runs)) as figure:
        draw_training(figure, runs, eval_set)


def plot_comparison(runs: list[Run], path: str | Path, title: str | None = None, eval_set: str | None = None) -> None:
    """Writes Fig. 5 of several runs to `path`; `eval_set` names the evaluation set if there were several."""
    with new_figure(path, 9, 3.8, title or _title("Comparison", runs)) as figure:
        draw_comparison(figure, runs, eval_set)


def plot_scores(run: Run, path: str | Path, title: str | None = None) -> None:
    """Writes the histograms of scores and weights of a run to `path`."""
    with new_figure(path, 9, 6, title or _title("Scores and weights", [run])) as figure:
        draw_scores(figure, run)


def _title(what: str, runs: list[Run]) -> str:
    return f"{what}: {runs[0].name}" if len(runs) == 1 else what


def parse(argv: list[str], program: str = "python -m trl_real.figures") -> argparse.Namespace:
    """The command and its options; `program` is what its help calls it."""
    parser = argparse.ArgumentParser(program, description="Draws figures from logs.")
    commands = parser.add_subparsers(dest="command", required=True)
    gradients = commands.add_parser("gradients", help="Fig. 1: gradient magnitude of GRPO and REAL")
    defaults = GradientOptions()
    gradients.add_argument("--tau", type=float, nargs="+", default=defaults.taus, help="temperatures of REAL")
    gradients.add_argument("--loss_type", nargs="+", default=defaults.loss_types, help=" or ".join(LOSS_TYPES))
    gradients.add_argument("--right", type=int, default=defaults.right, help="right rollouts of the group")
    gradients.add_argument("--wrong", type=int, default=defaults.wrong, help="wrong rollouts of the group")
    gradients.add_argument("--epsilon", type=float, default=defaults.epsilon, help="clipping range of GRPO")
    training = commands.add_parser("training", help="Fig. 4: entropy, held-out pass@1, reward, solved groups")
    compare = commands.add_parser("compare", help="Fig. 5: reward and held-out pass@1")
    scores = commands.add_parser("scores", help="histograms of scores and weights of a run of REALTrainer")
    for command in (training, compare):
        command.add_argument("runs", nargs="+", metavar="RUN", help="output_dir or trainer_state.json, or name=path")
        command.add_argument("--eval_set", help="evaluation set, if there were several")
    scores.add_argument("run", metavar="RUN", help="output_dir or trainer_state.json")
    for name, command in commands.choices.items():
        command.add_argument("--output", default=f"{name}.png", help="PNG, PDF or SVG file (default: %(default)s)")
        command.add_argument("--title", help="title of the figure")
    return parser.parse_args(argv)


def main(argv: list[str], *program: str) -> None:
    """Runs one command. Arguments as in [`parse`]."""
    args = parse(argv, *program)
    try:
        if args.command == "gradients":
            group = dict(right=args.right, wrong=args.wrong, epsilon=args.epsilon)
            plot_gradients(args.output, GradientOptions(tuple(args.tau), tuple(args.loss_type), **group), args.title)
        elif args.command == "training":
            plot_training(read_runs(args.runs), args.output, args.title, args.eval_set)
        elif args.command == "compare":
            plot_comparison(read_runs(args.runs), args.output, args.title, args.eval_set)
        else:
            plot_scores(read_run(args.run), args.output, args.title)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
