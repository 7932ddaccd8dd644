"""
One evaluation that is killed again and again: `python -m tests.evaluation.kills [--kills 20] [--seed 0]`.

In: nothing. Out: how many samples were in the logs at each kill (SIGKILL, at a random moment while it samples or takes
over what is there), and whether the end is that of an undisturbed evaluation: every sample once, every text the same.
Some six minutes; the tests kill once.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from inspect_ai.log import read_eval_log

from tests.support.math_run import write_math_run
from tests.support.scripts import ROOT
from trl_real.evaluation.engine.logs import find_logs


SAMPLES = 64


def logged_samples(output: Path) -> int:
    """How many samples the newest log holds, while it is being written."""
    logs = sorted(output.glob("*/*.eval"))
    try:
        with zipfile.ZipFile(logs[-1]) as file:
            return sum(name.startswith("samples/") for name in file.namelist())
    except (IndexError, zipfile.BadZipFile, OSError):
        return 0


def texts(output: Path) -> list[tuple[int, int, str, int]]:
    """Problem, number, text and length of every sample that the newest logs hold."""
    samples = [sample for log in find_logs(output) for sample in read_eval_log(log.header.location).samples]
    ordered = sorted(samples, key=lambda sample: (sample.id, sample.epoch))
    return [(each.id, each.epoch, each.output.completion, each.output.usage.output_tokens) for each in ordered]


def start(folder: Path, output: Path) -> subprocess.Popen:
    """Starts the evaluation, the same each time."""
    command = [sys.executable, "recipes/evaluate.py", "--models", str(folder / "model"), "--output", str(output)]
    command += ["--benchmarks", str(folder / "eval.parquet"), "--samples", str(SAMPLES)]
    command += ["--max_new_tokens", "32", "--batch_size", "4"]
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", XDG_DATA_HOME=str(folder / "home"))
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def kill(folder: Path, output: Path, chance: random.Random) -> bool:
    """Kills it at a random moment; `False` if it was done before."""
    process = start(folder, output)
    next((line for line in process.stdout if line.startswith("Running")), None)
    time.sleep(chance.uniform(0.1, 5))
    alive = process.poll() is None
    process.kill()
    process.wait()
    process.stdout.close()
    return alive


def main(argv: list[str]) -> None:
    """Runs it; exits with 1 if the end is not that of an undisturbed evaluation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_math_run(folder)
        for number in range(1, options.kills + 1):
            if not kill(folder, folder / "killed", chance):
                raise SystemExit(f"It was done before kill {number}; there are too few samples.")
            print(f"kill {number}: {logged_samples(folder / 'killed')} samples in the newest log", flush=True)
        for output in ("killed", "whole"):
            said, _ = start(folder, folder / output).communicate()
            print(said[-600:])
        same = texts(folder / "killed") == texts(folder / "whole")
        whole = len(texts(folder / "whole")) == 30 * SAMPLES
        tables = [(folder / output / "table.md").read_text() for output in ("killed", "whole")]
    print("as undisturbed" if same and whole and tables[0] == tables[1] else "NOT as undisturbed")
    sys.exit(not (same and whole and tables[0] == tables[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
