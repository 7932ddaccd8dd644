"""
The program behind `trl-real evaluate` and `recipes/evaluate.py`.

It writes the logs of Inspect AI, `table.md` and `results.json`. The same command resumes a stopped run.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..evaluation.options import EvaluationArguments
from ..recipe.held_out import load_held_out
from ..recipe.reading import build_options, read_options
from ..recipe.shipped import recipes_folder
from ..recipe.words import split_config
from .problems import one_line_errors, silence_deprecations


if TYPE_CHECKING:
    from inspect_ai.log import EvalLog


def read_logs(arguments: EvaluationArguments) -> tuple[list["EvalLog"], list[str]]:
    """The newest logs in the folder, of the named models and benchmarks in that order; and the unfinished ones."""
    from ..evaluation.results import about_of, find_logs

    logs = find_logs(Path(arguments.output))
    if not logs:
        raise ValueError(f"output: there are no samples in {arguments.output}.")
    order = {}
    for field, key, wanted in (("models", "model", arguments.models), ("benchmarks", "set", arguments.benchmarks)):
        known = list(dict.fromkeys(about_of(log)[key] for log in logs))
        for name in wanted:
            if name not in known:
                raise ValueError(f"{field}: {arguments.output} has no samples of {name}, only of {', '.join(known)}.")
        order[key] = wanted or known
    logs = [log for log in logs if all(about_of(log)[key] in names for key, names in order.items())]
    logs.sort(key=lambda log: [names.index(about_of(log)[key]) for key, names in order.items()])
    missing = [f"{about_of(log)['model']} on {about_of(log)['set']}" for log in logs if log.status != "success"]
    return [log for log in logs if log.status == "success"], missing


def main(argv: list[str]) -> None:
    """Runs the program; `argv` is the command line without its name."""
    if find_spec("inspect_ai") is None:
        raise SystemExit("error: evaluating needs Inspect AI. Run: pip install 'trl-real[evaluate]'")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SystemExit("error: start the evaluation as one process, `trl-real evaluate ...`.")
    silence_deprecations()
    try:
        config, words = split_config(argv)
        options, _ = read_options(words, [EvaluationArguments], recipes_folder())
        [arguments] = build_options(options, [EvaluationArguments])
        with one_line_errors("sampling"):
            text = _evaluate(arguments, config)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("Stopped. Finished samples are kept; the same command resumes.") from None
    print(f"{text}\nWrote {arguments.output}/table.md and results.json")
    if arguments.view:
        from inspect_ai import view

        view(arguments.output)


def _evaluate(arguments: EvaluationArguments, config: str | None) -> str:
    from ..evaluation.results import read_result
    from ..evaluation.running import evaluate
    from ..evaluation.tables import write_tables

    missing: list[str] = []
    if arguments.report:
        logs, missing = read_logs(arguments)
    elif config is None:
        logs = evaluate(arguments)
    elif arguments.benchmarks or arguments.require_think is not None:
        raise ValueError("benchmarks, require_think: with --config they come from the recipe; omit them.")
    else:
        logs = evaluate(arguments, load_held_out(config, recipes_folder()))
    results = [read_result(log, arguments.limit, arguments.require_think) for log in logs]
    return write_tables(results, missing, Path(arguments.output), with_paper=arguments.report)


if __name__ == "__main__":
    main(sys.argv[1:])
