"""`trl-real figures`: figures of the paper from the log files of runs, one command each."""

import argparse
from pathlib import Path
from typing import Any


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "trl-real figures", description="Draws the paper's figures from the logs of runs."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    # The defaults are those of `GradientOptions`
    gradients = commands.add_parser(
        "gradients", help="Fig. 1: gradient magnitude of GRPO and REAL", argument_default=argparse.SUPPRESS
    )
    gradients.add_argument("--tau", dest="taus", type=float, nargs="+", help="temperatures of REAL")
    gradients.add_argument("--loss_type", dest="loss_types", nargs="+", help="losses of REAL")
    gradients.add_argument("--correct", type=int, help="correct rollouts of the group")
    gradients.add_argument("--incorrect", type=int, help="incorrect rollouts of the group")
    gradients.add_argument("--epsilon", type=float, help="clipping range of GRPO")
    training = commands.add_parser("training", help="Fig. 4: entropy, held-out pass@1, reward, all-correct groups")
    compare = commands.add_parser("compare", help="Fig. 5: reward and held-out pass@1")
    scores = commands.add_parser("scores", help="histograms of scores and weights of a run of REALTrainer")
    for command in (training, compare):
        command.add_argument("runs", nargs="+", metavar="RUN", help="output_dir or trainer_state.json, or name=path")
        command.add_argument("--eval_set", help="evaluation set, if there were several")
    scores.add_argument("run", metavar="RUN", help="output_dir or trainer_state.json")
    for name, command in commands.choices.items():
        command.add_argument("--output", default=f"{name}.png", help="PNG, PDF or SVG file (default: %(default)s)")
    return parser.parse_args(words)


def draw(command: str, output: str, **options: Any) -> None:
    """Draws one figure; the arguments are those of the command line."""
    from .. import figures

    if command == "gradients":
        figures.plot_gradients(output, figures.GradientOptions(**options))
    elif command == "scores":
        figures.plot_scores(figures.read_run(options["run"]), output)
    else:
        plot = figures.plot_training if command == "training" else figures.plot_comparison
        plot(figures.read_runs(options["runs"]), output, options["eval_set"])


def main(words: list[str]) -> None:
    arguments = parse(words)
    output = Path(arguments.output).resolve()
    verb = "Replaced" if output.exists() else "Wrote"
    try:
        draw(**vars(arguments))
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{verb} {output}")
