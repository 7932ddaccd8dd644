"""
Trains a recipe once for each method, learning rate and seed, and compares the held-out results.

    trl-real compare --config mine.yaml --methods real,grpo,dapo --seeds 3 --learning_rates 1e-6,2e-6
    trl-real compare --config mine.yaml --methods recipe,real --max_steps 200 --num_processes 4
    trl-real compare --study studies.yaml

Every rate is trained with seed 0, and the other seeds at each method's best rate. One half of the recipe's
held-out prompts chooses the rate, the other half is reported. The same command resumes a comparison.
Methods: real, real_no_anchor, bce, grpo, dapo, gspo, cispo, sapo, vespo, recipe (its own objective), and
those that a study file adds. All other options are those of `trl-real train`, and apply to every run.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..recipe.shipped import recipes_folder
from ..recipe.words import field_name, read_recipe
from .overview import answered


if TYPE_CHECKING:
    from ..comparison.study import Study


PROGRAM = f"{__package__}.compare_run"
INSTEAD = {"learning_rate": "Write --learning_rates.", "seed": "Write --seeds.", "output_dir": "Write --output_dir."}


def parse(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the words that are for every run."""
    parser = argparse.ArgumentParser(
        "trl-real compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", metavar="RECIPE", help="path or name of a recipe")
    source.add_argument("--study", type=Path, metavar="FILE", help="YAML file with studies")
    parser.add_argument("--studies", type=_split, metavar="A,B", help="with --study: only these of its studies")
    parser.add_argument("--methods", type=_split, metavar="A,B", help="the others are compared with the first")
    parser.add_argument("--learning_rates", type=_split, metavar="X,Y", help="default: the recipe's")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many: 0, 1, ... (default: 3)")
    parser.add_argument("--metric", help="held-out metric: reward (default), or rewards/FUNCTION/mean")
    parser.add_argument(
        "--validation_prompts", type=int, metavar="N", help="held-out prompts that choose the rate (default: half)"
    )
    parser.add_argument("--output_dir", type=Path, help="default: runs/compare_ and the name of the file")
    parser.add_argument(
        "--records",
        type=Path,
        metavar="FILE",
        help="reads and adds results here (default: records.jsonl in output_dir)",
    )
    parser.add_argument("--report", action="store_true", help="train nothing; write tables and figures of the records")
    return parser.parse_known_args(words)


def _split(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main(words: list[str]) -> None:
    arguments, rest = parse(words)
    if arguments.config:
        answered("train", ["--config", arguments.config, *rest])  # names that do not exist, before torch is imported
    try:
        failures = compare(arguments, rest)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("Stopped. Finished runs are kept; the same command resumes.") from None
    if failures:
        raise SystemExit("\n".join(["error: these runs failed; the same command tries them again:", *failures]))


def compare(arguments: argparse.Namespace, rest: list[str]) -> list[str]:
    """Trains what is missing and writes the report; returns a line for each run that failed."""
    from ..comparison.running import run_missing
    from .launch import split_launch

    launch_words, words = split_launch(rest)
    studies = read_options(arguments, words)
    stem = Path(arguments.config or arguments.study).stem
    folder = arguments.output_dir or Path("runs") / f"compare_{stem}"
    path = arguments.records or folder / "records.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    if not arguments.report:
        plan(studies, folder, path, launch_words)
        program = [PROGRAM, *launch_words]
        failures = run_missing(studies, folder, path, program, lambda line: print(line, flush=True))
    if path.exists() or not failures:
        write_report(studies, path, folder)
    return failures


def read_options(arguments: argparse.Namespace, words: list[str]) -> list["Study"]:
    """The studies that the options ask for; `words` are the fields that replace the recipe's in every run."""
    from ..comparison.methods import METHODS, OMITTED
    from ..comparison.study import make_study, read_studies

    for name in (field_name(word) for word in words if word.startswith("--")):
        if name in (*OMITTED, "method", "loss_type"):
            raise ValueError(f"{name}: a comparison sets it for each run. {INSTEAD.get(name, 'Omit it.')}")
    given = {name: getattr(arguments, name) for name in ("methods", "learning_rates", "metric", "validation_prompts")}
    changes = {name: value for name, value in given.items() if value is not None}
    if arguments.seeds is not None:
        changes["seeds"] = list(range(arguments.seeds))
    if arguments.study:
        return read_studies(arguments.study, recipes_folder(), arguments.studies or (), words=words, **changes)
    if arguments.studies:
        raise ValueError("studies: only a study file has some. Omit it, or name the file with --study.")
    recipe, _, _ = read_recipe(["--config", arguments.config], recipes_folder())
    name, rates = Path(arguments.config).stem, [recipe.get("learning_rate", 1e-6)]
    defaults = dict(seeds=[0, 1, 2], learning_rates=rates, title=f"Methods on {name}")
    return [make_study(name, recipe, METHODS, words=words, **defaults | changes)]


def plan(studies: list["Study"], folder: Path, path: Path, launch_words: list[str]) -> None:
    """Prints the runs to come; `ValueError` for what one of them would refuse."""
    from ..comparison.methods import KEEPING, apply_method
    from ..comparison.records import key_of, read_records
    from ..comparison.running import run_words
    from ..comparison.study import count_runs, plan_runs
    from .compare_run import check
    from .launch import count_processes
    from .problems import silence_deprecations

    silence_deprecations()
    processes = count_processes(launch_words)
    for study in studies:
        print(f"{study.title or study.name}: {count_runs(study)} runs")
        rates, swept = ", ".join(f"{rate:g}" for rate in study.learning_rates), ", ".join(map(str, study.swept))
        print(f"  {', '.join(study.trainable)}, each with learning rate {rates} and seed {swept}")
        if others := ", ".join(str(seed) for seed in study.seeds if seed not in study.swept):
            print(f"  then each at its best rate with seed {others}")
        held_out, runs = {}, {run.method: run for run in plan_runs(study, study.swept)}
        for method, run in runs.items():
            own, recipe = study.methods[method], study.recipe | study.options
            try:
                held_out = check(run_words(folder, run), study.metric, study.validation_prompts, processes)
            except ValueError as error:
                raise ValueError(f"{error} (method {method})") from error
            settings = ", ".join(f"{name} {value}" for name, value in own.items() if name != "method")
            omitted = ", ".join(apply_method(recipe, own)[1])
            print(f"  {method}: {settings or 'the recipe as it is'}{f'; without {omitted}' * bool(omitted)}")
        if dropped := [name for name in KEEPING if study.recipe.get(name)]:
            print(f"  no model is kept, so these fields of the recipe are omitted: {', '.join(dropped)}")
        if held_out:
            print(f"  held-out prompts: {held_out['validation']} choose the rate, {held_out['reported']} are reported")
    planned = {run.key for study in studies for run in plan_runs(study, study.seeds)}
    done = len(planned & {key_of(record) for record in read_records(path)})
    print(
        f"{sum(map(count_runs, studies))} runs, {done} of them done; the first tells how long the rest takes",
        flush=True,
    )


def write_report(studies: list["Study"], path: Path, folder: Path) -> None:
    """Writes the tables and, with Matplotlib, the figures; prints what they show."""
    from ..comparison.records import read_records
    from ..comparison.study import records_of
    from ..comparison.tables import edges, report, study_table, verdict

    records = read_records(path)
    known = [(study, mine) for study in studies if (mine := records_of(study, records))]
    if not known:
        raise ValueError(f"records: {path} has no record of these runs.")
    (folder / "tables.md").write_text(report(known), "utf-8")
    written = [folder / "tables.md"]
    if find_spec("matplotlib"):
        from ..comparison.figure import draw

        written += draw(known, folder)
    else:
        print("No figure without Matplotlib. Run: pip install 'trl-real[plots]', then this command with --report.")
    for study, mine in known:
        print("", study.title or study.name, study_table(mine), verdict(study, mine), *edges(mine), sep="\n")
    print("", f"Wrote {', '.join(map(str, written))}", sep="\n")
