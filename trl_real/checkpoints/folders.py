"""
Checkpoints as folders: which are whole, how one appears, what an interrupted save leaves.

In: the `output_dir` of a run. Out: its newest whole checkpoint, in words what others lack, and moved folders. Left
out: who of several processes does it (`trainer.py`).
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path


NAME = re.compile(r"checkpoint-(\d+)")
# Transformers uploads nothing whose name begins so, and counts it as no checkpoint
ASIDE = "_unfinished"
REPLACED = "replaced-"
STATE = "trainer_state.json"
# What stands for each part, in the layouts of one process, DeepSpeed, FSDP, SageMaker and PEFT with several adapters
WEIGHTS = {
    "the weights": ("*model*.safetensors", "*model*.bin", "*/adapter_model.*", "pytorch_model_fsdp*", "global_step*"),
}
PARTS = WEIGHTS | {
    "optimizer.pt": ("optimizer.pt", "optimizer.bin", "optimizer_*", "rank*-optimizer.pt", "global_step*/*.pt"),
    "scheduler.pt": ("scheduler.pt", "latest"),
    "rng_state.pth": ("rng_state*.pth",),
}


def lacks(checkpoint: Path, only_model: bool = False) -> str | None:
    """
    What a checkpoint has to have for a run to resume from it, and has not.

    Args:
        checkpoint (`Path`):
            Its folder.
        only_model (`bool`):
            Whether the run saves no optimizer (`save_only_model`).

    Returns:
        `str` or `None`: a name, or `None` if it is whole.
    """
    try:
        json.loads((checkpoint / STATE).read_text("utf-8"))  # Transformers writes it after all else
    except (OSError, ValueError):
        return STATE
    for part, patterns in (WEIGHTS if only_model else PARTS).items():
        if not any(path for pattern in patterns for path in checkpoint.glob(pattern)):
            return part
    return next(_lost_files(checkpoint), None)


def _lost_files(checkpoint: Path) -> Iterator[str]:
    for index in checkpoint.glob("*.index.json"):
        shards = json.loads(index.read_text("utf-8") or "{}").get("weight_map", {}).values()
        yield from sorted({shard for shard in shards if not (checkpoint / shard).is_file()})
    if (checkpoint / "checkpoint-is-incomplete.txt").exists():
        yield "the end of a save at SIGTERM"  # Transformers' `enable_jit_checkpoint`
    # After a power cut, a file may have its name and nothing else
    kinds = {".pt", ".pth", ".bin", ".safetensors", ".json"}
    yield from (f"what is in {path.name}" for path in checkpoint.iterdir() if _is_empty(path) and path.suffix in kinds)


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def newest_whole(output_dir: Path, only_model: bool = False) -> tuple[Path | None, list[str]]:
    """
    The checkpoint to resume from.

    Args:
        output_dir (`Path`):
            Folder of the run. It need not exist.
        only_model (`bool`):
            As for `lacks`.

    Returns:
        `tuple`: the newest whole checkpoint or `None`, and a clause on each newer one that is not whole.
    """
    folders = output_dir.iterdir() if output_dir.is_dir() else ()
    numbered = {int(match[1]): path for path in folders if (match := NAME.fullmatch(path.name)) and path.is_dir()}
    passed_over: list[str] = []
    for _, checkpoint in sorted(numbered.items(), reverse=True):
        lost = lacks(checkpoint, only_model)
        if lost is None:
            return checkpoint, passed_over
        passed_over.append(f"{checkpoint} is incomplete ({lost} is missing)")
    return None, passed_over


def check_whole(checkpoint: str | Path, output_dir: str | Path, only_model: bool = False) -> None:
    """
    Refuses a checkpoint that is named to be resumed from, if it is not whole.

    Raises:
        `ValueError`: Names what it lacks and the newest whole checkpoint of the run.
    """
    checkpoint = Path(checkpoint)
    lost = lacks(checkpoint, only_model) if checkpoint.is_dir() else None
    if lost is None and checkpoint.is_dir():
        return
    said = f"{checkpoint} is incomplete ({lost} is missing)" if lost else f"there is no folder {checkpoint}"
    # A named checkpoint may lie in another run than this one
    runs = dict.fromkeys([checkpoint.parent, Path(output_dir)])
    whole = next((found for run in runs if (found := newest_whole(run, only_model)[0])), None)
    advice = f"write {whole}, the newest whole one" if whole else "there is no whole one; leave it out to start anew"
    raise ValueError(f"resume_from_checkpoint: {said}; {advice}.")


def has_evaluated(checkpoint: Path) -> bool:
    """Whether the log of a whole checkpoint has an evaluation."""
    log = json.loads((checkpoint / STATE).read_text("utf-8"))["log_history"]
    return any(name.startswith("eval_") for record in log for name in record)


def publish(checkpoint: Path, place: Path) -> None:
    """
    Gives a checkpoint that was written aside its name, at once and with all that is in it.

    Args:
        checkpoint (`Path`):
            Where it was written.
        place (`Path`):
            Where it shall be, on the same disk. What was there before is put aside until then.
    """
    _flush(checkpoint)
    replaced = checkpoint.with_name(f"{REPLACED}{place.name}")
    if place.exists():
        os.replace(place, replaced)
    os.replace(checkpoint, place)
    _flush_name(place.parent)
    shutil.rmtree(checkpoint.parent, ignore_errors=True)


def tidy(output_dir: Path) -> list[str]:
    """
    Removes what an interrupted save left, when nothing is being saved.

    Returns:
        `list[str]`: names of the checkpoints that were being written.
    """
    aside = output_dir / ASIDE
    for replaced in aside.glob(f"{REPLACED}*"):
        place = output_dir / replaced.name.removeprefix(REPLACED)
        if not place.exists():  # killed between the two renames of `publish`
            os.replace(replaced, place)
    left = sorted(path.name for path in aside.glob("checkpoint-*"))
    shutil.rmtree(aside, ignore_errors=True)
    return left


def _flush(folder: Path) -> None:
    """Waits for the disk to have all of a folder: the new name must not survive a power cut that the files do not."""
    for path, _, files in os.walk(folder):
        for name in files:
            with open(Path(path, name), "rb") as file:
                os.fsync(file.fileno())
        _flush_name(Path(path))


def _flush_name(folder: Path) -> None:
    if os.name == "posix":  # a folder cannot be opened elsewhere
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
