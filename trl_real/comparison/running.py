"""Runs one after another, each in its own process; a run that has a record is not trained again."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import yaml

from ..recipe.shipped import PACKAGE
from ..version import __version__
from .records import add_record, key_of, read_records
from .study import Run, Study, chosen_runs, count_runs, plan_runs, records_of


LIBRARIES = ("trl", "transformers", "torch")


def run_folder(folder: Path, run: Run) -> Path:
    """Where a run writes its recipe, its log and its state."""
    name = re.sub(r"\W+", "-", run.method)
    return folder / "runs" / f"{name}-{run.learning_rate:g}-{run.seed}-{run.settings}"


def run_words(folder: Path, run: Run) -> list[str]:
    """Writes the recipe of a run, and returns the words of a command line that trains it."""
    mine = run_folder(folder, run)
    mine.mkdir(parents=True, exist_ok=True)
    path = mine / "recipe.yaml"
    path.write_text(yaml.safe_dump(run.fields, sort_keys=False), "utf-8")
    numbers = ["--learning_rate", repr(run.learning_rate), "--seed", str(run.seed), "--output_dir", str(mine)]
    return ["--config", str(path), *numbers, *run.study.words]


def run_missing(
    studies: Sequence[Study], folder: Path, path: Path, program: Sequence[str], say: Callable[[str], None]
) -> list[str]:
    """
    Trains every run that has no record: of each study first those that choose the rate, then the other seeds.
    `program` are the words of a command that trains one run. Returns a line for each failed run; it stops no other.
    """
    total, number, seconds, failures = sum(map(count_runs, studies)), 0, [], []
    for study in studies:
        for stage in ("sweep", "other seeds"):
            known = records_of(study, read_records(path))
            runs = plan_runs(study, study.swept) if stage == "sweep" else chosen_runs(study, known)
            for run in runs:
                number += 1
                if run.key in map(key_of, read_records(path)):
                    continue
                start = time.monotonic()
                error = train(run, folder, path, program)
                seconds.append(time.monotonic() - start)
                failures += [f"{run}: {error}"] if error else []
                left = sum(seconds) / len(seconds) * (total - number) / 60
                say(f"[{number}/{total}] {run}: {error or f'{seconds[-1]:.0f} s'} (about {left:.0f} min left)")
    return failures


def train(run: Run, folder: Path, path: Path, program: Sequence[str]) -> str | None:
    """Trains one run and adds its record; the last line of its log if it failed."""
    words, study, mine = run_words(folder, run), run.study, run_folder(folder, run)
    measured = mine / "record.json"
    measured.unlink(missing_ok=True)
    command = [sys.executable, "-m", *program, *words, "--record", str(measured), "--metric", study.metric]
    command += ["--validation_prompts", str(study.validation_prompts or 0)]
    with (mine / "log.txt").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code or not measured.exists():
        lines = (mine / "log.txt").read_text("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
        return f"failed: {last.strip()} (all of it: {mine / 'log.txt'})"
    about = dict(method=run.method, learning_rate=run.learning_rate, seed=run.seed, settings=run.settings)
    about |= dict(
        commit=current_commit(), versions={"trl-real": __version__} | {each: version(each) for each in LIBRARIES}
    )
    add_record(path, about | json.loads(measured.read_text("utf-8")) | dict(recipe=run.fields, words=study.words))
    return None


def current_commit() -> str | None:
    """The commit of the checkout, with a `+` if files differ from it; none for an installed package."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    words = ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(words, cwd=PACKAGE.parent, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
