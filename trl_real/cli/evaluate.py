"""
Pass@1 of models on the paper's benchmarks, or on the held-out set of a recipe: the program behind `trl-real evaluate`
and `recipes/evaluate.py`.

    trl-real evaluate --models deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B runs/real_1p5b
    trl-real evaluate --models A B --benchmarks aime24 math500 --data data/benchmarks --samples 4
    trl-real evaluate --config quickstart.yaml            # before and after, on the recipe's own questions
    trl-real evaluate --report --output runs/eval         # samples nothing; the paper's rows beside yours
    trl-real evaluate --report --output runs/eval --view  # every prompt, answer and verdict, in a browser

Models are hub ids (`name@revision`), folders, checkpoints or adapters, or with `--base_url` what a server has;
benchmarks are aime24, aime25, math500, amc23, minerva, olympiad (default: all), files, or hub ids. Without other
options, sampling is the paper's: 16 samples, temperature 0.6, top_p 0.95, 8,192 tokens. The options are those of
`trl_real.evaluation.options.EvaluationArguments`.

In: models and problems. Out, in `output`: a folder for each model with the logs of Inspect AI, `table.md`, and
`results.json`. The same command goes on where it was stopped. Left out: sampling (`trl_real.evaluation.engine`).
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..evaluation.options import EvaluationArguments
from ..evaluation.report import write_report
from ..recipe.held_out import load_held_out
from ..recipe.reading import build_options, read_options
from ..recipe.shipped import recipes_folder
from ..recipe.words import split_config
from .problems import one_line_errors, silence_deprecations


Finished = list[tuple[dict[str, Any], list[dict[str, Any]]]]  # of each model and set what was asked, and the verdicts


def read_logs(arguments: EvaluationArguments) -> tuple[Finished, list[str]]:
    """All that is in the folder, or what is named, in that order; and in words what is not finished."""
    from ..evaluation.engine.logs import find_logs

    logs = find_logs(Path(arguments.output))
    if not logs:
        raise ValueError(f"output: there are no samples in {arguments.output}.")
    models = _order("models", arguments.models, [logged.model for logged in logs], arguments.output)
    sets = _order("benchmarks", arguments.benchmarks, [logged.set for logged in logs], arguments.output)
    picked = [logged for logged in logs if logged.model in models and logged.set in sets]
    picked.sort(key=lambda logged: (models.index(logged.model), sets.index(logged.set)))
    missing = [f"{each.model} on {each.set}, which is not finished" for each in picked if not each.is_finished]
    finished = [(each, _judge_of(each.about["judge"], arguments.require_think)) for each in picked if each.is_finished]
    return [(each.about | {"judge": judge}, each.verdicts(judge)) for each, judge in finished], missing


def _judge_of(judge: dict[str, Any], require_think: bool | None) -> dict[str, Any]:
    changes = require_think is not None and "require_think" in judge
    return judge | {"require_think": require_think} if changes else judge


def _order(field: str, wanted: list[str], there: list[str], output: str) -> list[str]:
    there = list(dict.fromkeys(there))
    for name in wanted:
        if name not in there:
            raise ValueError(f"{field}: {output} has no samples of {name}, only of {', '.join(there)}.")
    return wanted or there


def show(arguments: EvaluationArguments) -> None:
    """The logs as a folder of static pages, or in a browser until Ctrl-C."""
    if arguments.bundle:
        from inspect_ai.log import bundle_log_dir

        bundle_log_dir(arguments.output, arguments.bundle, overwrite=True)
        print(f"Wrote {arguments.bundle}. Any web server can show it: python -m http.server -d {arguments.bundle}")
    if arguments.view:
        from inspect_ai import view

        view(arguments.output)


def main(argv: list[str]) -> None:
    """Runs the program; `argv` is the command line without its name."""
    if find_spec("inspect_ai") is None:
        raise SystemExit("error: evaluating needs Inspect AI. Run: pip install 'trl-real[evaluate]'")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SystemExit(
            "error: start the evaluation as one process, `trl-real evaluate ...`; by itself it takes all visible GPUs."
        )
    silence_deprecations()
    try:
        config, words = split_config(argv)
        options, _ = read_options(words, [EvaluationArguments], recipes_folder())
        [arguments] = build_options(options, [EvaluationArguments])
        with one_line_errors("sampling"):
            finished, missing = read_logs(arguments) if arguments.report else (_sample(arguments, config), [])
        text = write_report(finished, missing, Path(arguments.output), with_paper=arguments.report)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{text}\nWrote {arguments.output}/table.md and results.json")
    show(arguments)


def _sample(arguments: EvaluationArguments, config: str | None) -> Finished:
    from ..evaluation.engine.asking import sample

    if config is None:
        return sample(arguments)
    if arguments.benchmarks or arguments.require_think is not None:
        raise ValueError("benchmarks, require_think: with --config, the recipe has them; leave them out.")
    return sample(arguments, load_held_out(config, recipes_folder()))


if __name__ == "__main__":
    main(sys.argv[1:])
