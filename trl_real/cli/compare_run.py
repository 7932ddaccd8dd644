"""One run of a comparison: `trl-real train` with a held-out set in two parts, and a record instead of a model."""

import argparse
import json
import sys
from pathlib import Path

from ..comparison.measuring import Clock, check_metric, measure, split_held_out
from ..recipe.dry_run import build_planned
from ..recipe.launch import end_processes, missing, read_prepared
from ..validation.arguments import reward_names
from . import launch
from .problems import one_line_errors, silence_deprecations
from .train import RECIPES, build_trainer, check_model, check_options, load_checked, prepare


def check(words: list[str], metric: str, validation_prompts: int | None, processes: int) -> dict[str, int]:
    """
    Finds what a run with this command line would refuse, without reading a weight; returns the number of prompts in
    both parts of the held-out set. `processes` is how many the launcher would start.
    """
    options, classes = read_prepared(words, RECIPES, dry_run=True, world_size=processes)
    if lacks := missing(options):
        raise ValueError(" ".join(lacks))
    recipe, training, model = build_planned(options, classes, processes)
    check_options(recipe, training, model)
    check_model(training, model)
    inputs = load_checked(recipe, training, model)
    check_metric(metric, reward_names(inputs.reward_funcs))
    return {name: len(rows) for name, rows in split_held_out(inputs.test, validation_prompts).items()}


def main(argv: list[str]) -> None:
    """Runs the program; `argv` is the command line without its name."""
    parser = argparse.ArgumentParser("trl-real compare, one run", allow_abbrev=False)
    parser.add_argument("--record", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--metric", default="reward", help="held-out metric")
    parser.add_argument("--validation_prompts", type=int, default=0, help="held-out prompts that choose; 0: half")
    own, words = parser.parse_known_args(argv)
    silence_deprecations()
    try:
        trainer_class, inputs, recipe, training, model, _ = prepare(words)
        inputs.test = split_held_out(inputs.test, own.validation_prompts or None)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    with one_line_errors("loading the model"):
        trainer = build_trainer(trainer_class, inputs, recipe, training, model)
    clock = Clock()
    trainer.add_callback(clock)
    with one_line_errors("training"):
        trainer.train()
        evaluated = [record["step"] for record in trainer.state.log_history if "eval_reported_reward" in record]
        if trainer.state.global_step not in evaluated:
            trainer.evaluate()
    if trainer.is_world_process_zero():
        own.record.write_text(json.dumps(measure(trainer, clock, own.metric)), "utf-8")
    trainer.save_state()
    end_processes(trainer.accelerator)


if __name__ == "__main__":
    launch.train(sys.argv[1:], f"{__package__}.compare_run")
