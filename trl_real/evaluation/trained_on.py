"""
Which data sets a model was trained on, and which benchmarks are known to be in them.

A training leaves a note in its folder; model cards also name data sets. `trl_real.data.contamination` finds overlaps.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from ..data.contamination import KNOWN


NOTE = "training_data.json"
GENERATIONS = 10  # models, each trained from the one before


def write_note(folder: Path, dataset: str, decontaminate: list[str], model: str) -> None:
    """Notes the training set, the benchmarks removed from it, and the model that was trained."""
    folder.mkdir(parents=True, exist_ok=True)
    note = {"dataset_name": dataset, "decontaminate": decontaminate, "model_name_or_path": model}
    (folder / NOTE).write_text(json.dumps(note, indent=2) + "\n", "utf-8")


def find_training_data(model: str) -> list[dict[str, Any]]:
    """`dataset_name` and `decontaminate` of every known training of a model and of the models before it."""
    found = []
    for _ in range(GENERATIONS):
        folder = Path(model).expanduser()  # a checkpoint or a merged model is one folder below the note
        places = (folder / NOTE, folder.parent / NOTE) if folder.is_dir() else ()
        path = next((path for path in places if path.is_file()), None)
        if path is None:
            break
        note = json.loads(path.read_text("utf-8"))
        found.append({"dataset_name": note["dataset_name"], "decontaminate": note["decontaminate"]})
        model = note["model_name_or_path"]
    card = Path(model).expanduser() / "README.md"
    named = getattr(ModelCard.load(card).data, "datasets", None) if card.is_file() else None
    names = [named] if isinstance(named, str) else named or []
    return found + [{"dataset_name": name, "decontaminate": []} for name in names]


def known_overlap(training_data: list[dict[str, Any]], benchmark: str) -> tuple[str, int] | None:
    """A data set that is known to contain problems of a benchmark, and how many; `None` if none is."""
    for training in training_data:
        name = str(training["dataset_name"]).casefold()
        for known, overlaps in KNOWN.items():
            if known in name and benchmark in overlaps and benchmark not in training["decontaminate"]:
                return training["dataset_name"], overlaps[benchmark]
    return None
