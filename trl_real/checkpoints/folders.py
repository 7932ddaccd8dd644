"""Checkpoints as folders: which are complete, how one appears, what an interrupted save leaves."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path


NAME = re.compile(r"checkpoint-(\d+)")
# Transformers uploads nothing whose name begins with an underscore, and does not count it as a checkpoint
ASIDE = "_unfinished"
REPLACED = "replaced-"
STATE = "trainer_state.json"
# One of the patterns for each part, for one process, DeepSpeed, FSDP, SageMaker and PEFT with several adapters
WEIGHTS = {
    "the weights": ("*model*.safetensors", "*model*.bin", "*/adapter_model.*", "pytorch_model_fsdp*", "global_step*"),
}
PARTS = WEIGHTS | {
    "optimizer.pt": ("optimizer.pt", "optimizer.bin", "optimizer_*", "rank*-optimizer.pt", "global_step*/*.pt"),
    "scheduler.pt": ("scheduler.pt", "latest"),
    "rng_state.pth": ("rng_state*.pth",),
}


def missing_part(checkpoint: Path, only_model: bool = False) -> str | None:
    """
    The first part that a checkpoint needs for resuming and does not have; `None` if it is complete. With `only_model`,
    the run saves no optimizer (`save_only_model`).
    """
    try:
        json.loads((checkpoint / STATE).read_text("utf-8"))  # Transformers writes it after everything else
    except (OSError, ValueError):
        return STATE
    for part, patterns in (WEIGHTS if only_model else PARTS).items():
        if not any(path for pattern in patterns for path in checkpoint.glob(pattern)):
            return part
    return next(_missing_content(checkpoint), None)


def _missing_content(checkpoint: Path) -> Iterator[str]:
    for index in checkpoint.glob("*.index.json"):
        shards = json.loads(index.read_text("utf-8") or "{}").get("weight_map", {}).values()
        yield from sorted({shard for shard in shards if not (checkpoint / shard).is_file()})
    if (checkpoint / "checkpoint-is-incomplete.txt").exists():
        yield "the end of a save at SIGTERM"  # Transformers' `enable_jit_checkpoint`
    for path in checkpoint.iterdir():  # after a power cut a file may be empty
        if path.suffix in (".pt", ".pth", ".bin", ".safetensors", ".json") and path.is_file():
            if not path.stat().st_size:
                yield f"what is in {path.name}"


def newest_complete(output_dir: Path, only_model: bool = False) -> tuple[Path | None, list[str]]:
    """The newest complete checkpoint of a run or `None`, and a clause about each newer one that is incomplete."""
    folders = output_dir.iterdir() if output_dir.is_dir() else ()
    numbered = {int(match[1]): path for path in folders if (match := NAME.fullmatch(path.name)) and path.is_dir()}
    skipped: list[str] = []
    for _, checkpoint in sorted(numbered.items(), reverse=True):
        part = missing_part(checkpoint, only_model)
        if part is None:
            return checkpoint, skipped
        skipped.append(f"{checkpoint} is incomplete ({part} is missing)")
    return None, skipped


def check_complete(checkpoint: str | Path, output_dir: str | Path, only_model: bool = False) -> None:
    """Raises `ValueError` if a checkpoint is incomplete; names what is missing and the run's newest complete one."""
    checkpoint = Path(checkpoint)
    part = missing_part(checkpoint, only_model) if checkpoint.is_dir() else None
    if part is None and checkpoint.is_dir():
        return
    problem = f"{checkpoint} is incomplete ({part} is missing)" if part else f"there is no folder {checkpoint}"
    runs = dict.fromkeys([checkpoint.parent, Path(output_dir)])  # the checkpoint may belong to another run
    complete = next((found for run in runs if (found := newest_complete(run, only_model)[0])), None)
    advice = f"Write {complete}, the newest complete one" if complete else "Omit it to start from scratch"
    raise ValueError(f"resume_from_checkpoint: {problem}. {advice}.")


def has_evaluated(checkpoint: Path) -> bool:
    """Whether the log of a complete checkpoint contains an evaluation."""
    log = json.loads((checkpoint / STATE).read_text("utf-8"))["log_history"]
    return any(name.startswith("eval_") for record in log for name in record)


def publish(checkpoint: Path, place: Path) -> None:
    """Moves a checkpoint that was written aside to its place on the same disk, at once and with all its content."""
    _flush(checkpoint)
    replaced = checkpoint.with_name(f"{REPLACED}{place.name}")
    if place.exists():
        os.replace(place, replaced)
    os.replace(checkpoint, place)
    _flush_folder(place.parent)
    shutil.rmtree(checkpoint.parent, ignore_errors=True)


def tidy(output_dir: Path) -> list[str]:
    """Removes what an interrupted save left, when nothing is being saved; returns the names of its checkpoints."""
    aside = output_dir / ASIDE
    for replaced in aside.glob(f"{REPLACED}*"):
        place = output_dir / replaced.name.removeprefix(REPLACED)
        if not place.exists():  # killed between the two renames of `publish`
            os.replace(replaced, place)
    left = sorted(path.name for path in aside.glob("checkpoint-*"))
    shutil.rmtree(aside, ignore_errors=True)
    return left


def _flush(folder: Path) -> None:
    """Waits until the disk has the folder's content: a power cut must not leave the new name without the files."""
    for path, _, files in os.walk(folder):
        for name in files:
            with open(Path(path, name), "rb") as file:
                os.fsync(file.fileno())
        _flush_folder(Path(path))


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":  # a folder cannot be opened elsewhere
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
