"""
Compares methods over learning rates and seeds on tasks that a CPU trains in seconds or minutes (comparison/tasks.py).

    python -m comparison --config comparison/studies/chain5.yaml --workers 2
    python -m comparison --config comparison/studies/chain5.yaml --records docs/results/chain5.jsonl  # goes on
    python -m comparison --config comparison/studies/chain5.yaml --report docs/results/chain5.jsonl

In: a YAML file with tasks, methods and studies. A study is a task, some options, and combinations of its methods,
learning rates and seeds; each combination is a cell, one training with the real trainers. Methods whose options the
package has no more stand in a file of their own (`gone`): they are reported, not trained. Seeds that are not among the
`sweep_seeds` are only trained with the learning rate that the sweep chose. Out, in `--output_dir`: a JSON file per
cell, written when it is done; `cells.jsonl` with all of them, `tables.md`, and the figures that the plan wants
(`figure.py`). Cells that are there are not trained again, so an interrupted comparison goes on where it stopped.
`--report` trains nothing and makes tables and figures from a `cells.jsonl`.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import time
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

from .plan import (
    Cell,
    Plan,
    by_study,
    check_cells,
    check_names,
    chosen_cells,
    plan_cells,
    read_plan,
    sweep_seeds,
)
from .records import Record, cost_table, drift_table, study_table


def prepare_cells(cells: list[Cell]) -> list[Cell]:
    """Writes the base models that are missing, and stamps every cell with its base and the commit."""
    from .tasks import base_digest, prepare_model

    commit, bases = current_commit(), {}
    for cell in cells:
        folder = Path(cell["task"]["model"])
        if folder not in bases:
            prepare_model(cell["task"])
            bases[folder] = base_digest(folder)
        cell |= dict(base=bases[folder], commit=commit)
    return cells


def current_commit() -> str:
    """The commit of this checkout, with a `+` if what is run differs from it."""
    root = Path(__file__).parent.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + "+" * bool(
            git("status", "--porcelain", "trl_real", "comparison")
        )
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


def take_records(source: Path, folder: Path) -> None:
    """Puts the records of a `cells.jsonl` where a comparison looks for what it has trained."""
    for record in read_records(source):
        path = record_path(folder, record)
        if not path.exists():
            write_record(path, record)


def write_record(path: Path, record: Record) -> None:
    """The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(record, separators=(",", ":")))
    temporary.rename(path)


def train_and_save(cell: Cell, folder: Path) -> Record:
    """Trains a cell in this process."""
    from .cell import run_cell

    record = run_cell(cell)
    write_record(record_path(folder, cell), record)
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


def write_report(plan: Plan, records: list[Record], folder: Path) -> None:
    """`tables.md`, and the figures that the plan wants."""
    from .figure import draw

    studies = by_study(plan, records)
    titles = {name: plan["studies"][name].get("title", name) for name in studies}
    parts = [f"### {titles[name]}\n\n{study_table(mine)}\n" for name, mine in studies.items()]
    for name, mine in studies.items():
        if level := plan["studies"][name].get("level"):
            parts.append(f"### {titles[name]}: what it costs\n\n{cost_table(mine, level)}\n")
    parts.append(f"### Scores in every run of REAL\n\n{drift_table(studies)}\n")
    (folder / "tables.md").write_text("\n".join(parts))
    figures = draw(studies, plan["studies"], folder)
    print(f"Wrote {folder / 'tables.md'}", *figures)


def read_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="YAML file with the studies")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with one thread")
    parser.add_argument("--studies", nargs="+", help="only these")
    parser.add_argument("--output_dir", type=Path, help="default: runs/ and the name of the YAML file")
    parser.add_argument("--records", type=Path, metavar="CELLS_JSONL", help="do not train again what is in there")
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
            if arguments.records:
                take_records(arguments.records, folder)
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
