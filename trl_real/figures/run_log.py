"""What a run of REALTrainer or GRPOTrainer logged, read back from its files."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One training run, by the name that legends show."""

    name: str
    log: list[dict[str, Any]]  # `trainer.state.log_history`

    def series(self, key: str) -> tuple[list[int], list[Any]]:
        """Steps at which a quantity was logged, and its values; the later one if a step was logged twice."""
        points = {record["step"]: record[key] for record in self.log if record.get(key) is not None}
        steps = sorted(points)
        return steps, [points[step] for step in steps]

    def logs(self, key: str) -> bool:
        """Whether a quantity was logged at any step."""
        return any(record.get(key) is not None for record in self.log)


def read_run(source: str | Path) -> Run:
    """
    Reads a run, by default named like its `output_dir`; `FileNotFoundError` or `ValueError` if there is no such log.

    Args:
        source (`str` or `Path`):
            An `output_dir`, a checkpoint in it or a `trainer_state.json`, or `name=path` for another name.
    """
    name, path = "", Path(source)
    if not path.exists() and "=" in str(source):
        name, _, rest = str(source).partition("=")
        path = Path(rest)
    state = _find_state(path)
    try:
        log = json.loads(state.read_text())["log_history"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{state} is not the trainer_state.json of a run: {error!r}.") from error
    folder = state.resolve().parent
    if folder.name.startswith("checkpoint-"):
        folder = folder.parent
    return Run(name or folder.name, log)


def read_runs(sources: list[str]) -> list[Run]:
    """Reads several runs, whose names must differ."""
    runs = [read_run(source) for source in sources]
    for name, number in Counter(run.name for run in runs).items():
        if number > 1:
            raise ValueError(f"{name}: is the name of {number} runs; write name=path to tell them apart.")
    return runs


def _find_state(source: Path) -> Path:
    """The newest state in a run's folder: that of its end, or of a checkpoint if it was resumed or never ended."""
    states = [source]
    if source.is_dir():
        states = [*source.glob("checkpoint-*/trainer_state.json"), *source.glob("trainer_state.json")]
        states.sort(key=lambda state: state.stat().st_mtime)
    if not source.exists():
        raise FileNotFoundError(f"{source}: there is no such file or folder; write a run's output_dir, or name=path.")
    if not states:
        raise FileNotFoundError(f"{source} contains no trainer_state.json: no checkpoint was saved there yet.")
    return states[-1]
