"""
Which data a model was trained on, and which benchmarks are known to be in them.

In: a model, and the note that a training leaves in its folder (or the data sets that its model card names). Out: names
of data sets, and for a benchmark how many of its problems they hold. Left out: comparing problems
(`trl_real.data.contamination`): of a data set that is not in its table nothing is known here.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from ..data.contamination import KNOWN


NOTE = "training_data.json"
GENERATIONS = 10  # models that were each trained from the one before


def write_note(folder: Path, dataset: str, decontaminate: list[str], model: str) -> None:
    """Leaves word of the training set, of the benchmarks taken out of it, and of the model that was trained."""
    folder.mkdir(parents=True, exist_ok=True)
    note = {"dataset_name": dataset, "decontaminate": decontaminate, "model_name_or_path": model}
    (folder / NOTE).write_text(json.dumps(note, indent=2) + "\n", "utf-8")


def find_training_data(model: str) -> list[dict[str, Any]]:
    """`dataset_name` and `decontaminate` of each training of a model and of those before it, as far as is known."""
    found = []
    for _ in range(GENERATIONS):
        note = _read_note(Path(model).expanduser())
        if note is None:
            break
        found.append({"dataset_name": note["dataset_name"], "decontaminate": note["decontaminate"]})
        model = note["model_name_or_path"]
    card = Path(model).expanduser() / "README.md"
    named = ModelCard.load(card).data.datasets if card.is_file() else None
    names = [named] if isinstance(named, str) else named or []
    return found + [{"dataset_name": name, "decontaminate": []} for name in names]


def _read_note(folder: Path) -> dict[str, Any] | None:
    """Of a model, or of one of its checkpoints, or of what was merged."""
    places = (folder / NOTE, folder.parent / NOTE) if folder.is_dir() else ()
    path = next((path for path in places if path.is_file()), None)
    return path and json.loads(path.read_text("utf-8"))


def known_overlap(training_data: list[dict[str, Any]], benchmark: str) -> tuple[str, int] | None:
    """A data set that is known to hold problems of a benchmark, and how many; `None` if none is."""
    for training in training_data:
        name = str(training["dataset_name"]).casefold()
        for known, overlaps in KNOWN.items():
            if known in name and benchmark in overlaps and benchmark not in training["decontaminate"]:
                return training["dataset_name"], overlaps[benchmark]
    return None
