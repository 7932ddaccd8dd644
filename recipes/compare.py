"""
Compares methods over learning rates and seeds on a task that trains in seconds on a CPU (recipes/chain.py).

    python recipes/compare.py --config recipes/studies/chain5.yaml --workers 2
    python recipes/compare.py --config recipes/studies/chain5.yaml --report docs/results/chain5.jsonl

In: a YAML file with tasks, methods and studies. A study is a task, some options, and combinations of its methods,
learning rates and seeds; each combination is a cell, one training with the real trainers. Seeds that are not among the
`sweep_seeds` are only trained with the learning rate that the sweep chose. Out, in `--output_dir`: a
JSON file per cell, written when it is done; `cells.jsonl` with all of them, `tables.md` and `figure.png`. Cells that
are there are not trained again, so an interrupted comparison goes on where it stopped. `--report` trains nothing and
makes tables and figure from a `cells.jsonl`.
"""

import argparse
import dataclasses
import difflib
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import yaml

from trl_real.comparison import Record, best_learning_rate, select, study_table


Cell = dict[str, Any]
Plan = dict[str, Any]

SECTIONS = ("scoring", "tasks", "common", "methods", "studies")
STUDY_FIELDS = ("title", "task", "methods", "learning_rates", "sweep_seeds", "seeds", "options")
TASK_FIELDS = ("model", "length", "teacher", "warm_up_steps", "reward_noise")


def read_plan(path: Path) -> Plan:
    """The YAML file, with the shape of every section checked; `ValueError` names what is wrong."""
    plan = yaml.safe_load(path.read_text())
    if not isinstance(plan, dict) or not plan.get("studies"):
        raise ValueError(f"studies: {path} must name at least one study.")
    check_names("a section", plan, SECTIONS)
    for name in SECTIONS:
        if name not in plan:
            raise ValueError(f"{name}: the section is missing in {path}.")
    for name, task in plan["tasks"].items():
        check_names(f"a field of task {name}", task, TASK_FIELDS, all_needed=True)
    for name, study in plan["studies"].items():
        check_names(f"a field of study {name}", study, STUDY_FIELDS)
        for field in ("methods", "learning_rates", "seeds"):
            if not study.get(field):
                raise ValueError(f"{field}: study {name} needs at least one.")
        check_names(f"a method (study {name})", study["methods"], plan["methods"])
        check_names(f"a task (study {name})", [study.get("task")], plan["tasks"])
    return plan


def check_names(what: str, names: Any, known: Any, all_needed: bool = False) -> None:
    """`ValueError` for a name that is not known, with the nearest that is."""
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(known)}."
            raise ValueError(f"{name}: is not {what}; {hint}")
    missing = [name for name in known if name not in names] if all_needed else []
    if missing:
        raise ValueError(f"{missing[0]}: is missing as {what}.")


def plan_cells(plan: Plan, study: str, seeds: list[int] | None = None) -> list[Cell]:
    """Every cell of a study, seed by seed, so that an interrupted study is even over methods."""
    about, cells = plan["studies"][study], []
    for seed in seeds or about["seeds"]:
        for rate in about["learning_rates"]:
            for method in about["methods"]:
                own = dict(plan["methods"][method])
                trainer = own.pop("trainer")
                options = plan["common"] | own | (about.get("options") or {})
                task = plan["tasks"][about["task"]] | plan["scoring"]
                cell = dict(study=study, method=method, learning_rate=float(rate), seed=seed, trainer=trainer)
                settings = settings_digest(trainer, options, task)
                cells.append(cell | dict(options=options, task=task, settings=settings))
    return cells


def chosen_cells(plan: Plan, study: str, records: list[Record]) -> list[Cell]:
    """The cells of the seeds after the sweep, each method at the learning rate that its validation prompts choose."""
    about = plan["studies"][study]
    rest = [seed for seed in about["seeds"] if seed not in sweep_seeds(about)]
    swept = [record for record in records if record["seed"] in sweep_seeds(about)]
    best = {
        method: best_learning_rate(select(swept, method=method))
        for method in about["methods"]
        if select(swept, method=method)
    }
    cells = plan_cells(plan, study, rest) if rest else []
    return [cell for cell in cells if cell["learning_rate"] == best.get(cell["method"])]


def sweep_seeds(study: dict[str, Any]) -> list[int]:
    """The seeds with which every learning rate is trained; by default all."""
    return study.get("sweep_seeds") or study["seeds"]


def settings_digest(trainer: str, options: dict[str, Any], task: dict[str, Any]) -> str:
    """What tells trainings with different settings apart; the same training may be in several studies."""
    task = {name: value for name, value in task.items() if name != "model"}
    return hashlib.sha256(json.dumps([trainer, options, task], sort_keys=True).encode()).hexdigest()[:12]


def check_cells(cells: list[Cell]) -> None:
    """Builds the configuration of every setting once, so that nothing in the YAML fails hours later."""
    from compare_cell import build_config

    from trl_real.methods import METHODS

    seen = set()
    for cell in cells:
        key = (cell["study"], cell["method"])
        if key in seen:
            continue
        seen.add(key)
        check_names("a trainer", [cell["trainer"]], METHODS)
        fields = [field.name for field in dataclasses.fields(METHODS[cell["trainer"]][1])]
        check_names(f"a field of {cell['method']}'s configuration", cell["options"], fields)
        build_config(cell, "unused")


def prepare_cells(cells: list[Cell]) -> list[Cell]:
    """Writes the base models that are missing, and stamps every cell with its base and the commit."""
    import chain
    from compare_cell import base_digest

    commit, bases = current_commit(), {}
    for cell in cells:
        task, folder = cell["task"], Path(cell["task"]["model"])
        if folder not in bases:
            if not (folder / "config.json").exists():
                print(f"Warming up {folder}, one or two minutes", flush=True)
                options = chain.WARM_UP | dict(steps=task["warm_up_steps"])
                chain.write_base(folder, task["length"], task["teacher"], options)
            bases[folder] = json.loads((folder / "chain.json").read_text()) | dict(digest=base_digest(folder))
        about = bases[folder]
        if (about["length"], about["teacher"], about["warm_up"]["steps"]) != (
            task["length"],
            task["teacher"],
            task["warm_up_steps"],
        ):
            raise ValueError(f"model: {folder} was warmed up on another task; remove it or name another folder.")
        cell |= dict(base=about["digest"], commit=commit)
    return cells


def current_commit() -> str:
    """The commit of this checkout, with a `+` if what is run differs from it."""
    root = Path(__file__).parent.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + "+" * bool(git("status", "--porcelain", "trl_real", "recipes"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def record_path(folder: Path, cell: Cell) -> Path:
    """Where the record of a cell is."""
    return folder / "cells" / f"{cell['settings']}-{cell['learning_rate']:g}-{cell['seed']}.json"


def is_done(folder: Path, cell: Cell) -> bool:
    """Whether the cell has a record; `ValueError` if that started from another model."""
    path = record_path(folder, cell)
    if not path.exists():
        return False
    if json.loads(path.read_text())["base"] != cell["base"]:
        raise ValueError(f"model: {path} was trained from another {cell['task']['model']}; name another output_dir.")
    return True


def train_and_save(cell: Cell, folder: Path) -> Record:
    """Trains a cell in this process; the file appears whole or not at all."""
    from compare_cell import run_cell

    record, path = run_cell(cell), record_path(folder, cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(record, separators=(",", ":")))
    temporary.rename(path)
    return record


def run_studies(plan: Plan, studies: list[str], folder: Path, workers: int) -> list[str]:
    """Trains what is not there yet, study after study; returns what went wrong, cell by cell."""
    from pebble import ProcessPool

    # One thread each: more than one per core only slows a small model down
    os.environ |= dict(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", TOKENIZERS_PARALLELISM="false")
    failures: list[str] = []
    with ProcessPool(max_workers=workers, context=multiprocessing.get_context("spawn")) as pool:
        for study in studies:
            sweep = plan_cells(plan, study, sweep_seeds(plan["studies"][study]))
            failures += run_cells(pool, prepare_cells(sweep), folder)
            mine = by_study(plan, read_records(folder)).get(study, [])
            failures += run_cells(pool, prepare_cells(chosen_cells(plan, study, mine)), folder)
    return failures


def run_cells(pool: Any, cells: list[Cell], folder: Path) -> list[str]:
    """Trains the cells that are not done; returns what went wrong, cell by cell."""
    waiting = [cell for cell in cells if not is_done(folder, cell)]
    if cells:
        print(f"{cells[0]['study']}: {len(cells)} cells, {len(cells) - len(waiting)} of them done", flush=True)
    failures, start = [], time.monotonic()
    futures = {pool.schedule(train_and_save, args=[cell, folder]): cell for cell in waiting}
    for done, future in enumerate(as_completed(futures), start=1):
        cell = futures[future]
        name = f"{cell['study']}, {cell['method']}, lr {cell['learning_rate']:g}, seed {cell['seed']}"
        try:
            record = future.result()
            said = f"{record['test']:.3f}, {record['wall_seconds']:.0f} s"
        except Exception as error:  # one bad cell must not end the others
            said = f"failed: {type(error).__name__}: {error}"
            failures.append(f"{name}: {said}")
        left = (time.monotonic() - start) / done * (len(waiting) - done) / 60
        print(f"[{done}/{len(waiting)}] {name}: {said} ({left:.0f} min left)", flush=True)
    return failures


def read_records(source: Path) -> list[Record]:
    """The records of a comparison's folder, or of a `cells.jsonl`."""
    if source.is_dir():
        return [json.loads(path.read_text()) for path in sorted(source.glob("cells/*.json"))]
    return [json.loads(line) for line in source.read_text().splitlines()]


def by_study(plan: Plan, records: list[Record]) -> dict[str, list[Record]]:
    """The records of every study that has any, in the order of the plan, under the study's names of the methods."""
    known = {(record["settings"], record["learning_rate"], record["seed"]): record for record in records}
    found: dict[str, list[Record]] = {}
    for cell in (cell for study in plan["studies"] for cell in plan_cells(plan, study)):
        record = known.get((cell["settings"], cell["learning_rate"], cell["seed"]))
        if record:
            found.setdefault(cell["study"], []).append(record | dict(method=cell["method"]))
    for name, mine in found.items():
        mine.sort(key=lambda record, name=name: plan["studies"][name]["methods"].index(record["method"]))
    return found


def write_report(plan: Plan, records: list[Record], folder: Path) -> None:
    """`tables.md` and `figure.png`."""
    from compare_figure import draw

    studies = by_study(plan, records)
    titles = {name: plan["studies"][name].get("title", name) for name in studies}
    parts = [f"### {titles[name]}\n\n{study_table(mine)}\n" for name, mine in studies.items()]
    (folder / "tables.md").write_text("\n".join(parts))
    draw(studies, titles, folder / "figure.png")
    print(f"Wrote {folder / 'tables.md'} and {folder / 'figure.png'}")


def read_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="YAML file with the studies")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with one thread")
    parser.add_argument("--studies", nargs="+", help="only these")
    parser.add_argument("--output_dir", type=Path, help="default: runs/ and the name of the YAML file")
    parser.add_argument("--report", type=Path, metavar="CELLS_JSONL", help="train nothing; tables and figure of this")
    arguments = parser.parse_args(argv)
    arguments.output_dir = arguments.output_dir or Path("runs") / arguments.config.stem
    return arguments


def main(argv: list[str]) -> None:
    arguments, failures = read_arguments(argv), []
    folder = arguments.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    try:
        plan = read_plan(arguments.config)
        check_names("a study", arguments.studies or [], plan["studies"])
        if not arguments.report:
            studies = arguments.studies or list(plan["studies"])
            check_cells([cell for study in studies for cell in plan_cells(plan, study)])
            failures = run_studies(plan, studies, folder, arguments.workers)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    records = read_records(arguments.report or folder)
    if not arguments.report:
        lines = [json.dumps(record, separators=(",", ":")) for record in records]
        (folder / "cells.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if records:
        write_report(plan, records, folder)
    if failures:
        raise SystemExit("\n".join(["error: these cells failed:", *failures]))


if __name__ == "__main__":
    main(sys.argv[1:])
