"""One process of a run that may be killed: what is trained, and what counts as an event."""

import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from tests.crashes.doom import Doom, Moment
from tests.support import processes
from tests.support.fsdp import use_fsdp
from tests.support.tiny import prompts_dataset
from tests.support.trainers import config, trainer
from tests.trainer.test_distributed import ZERO3
from trl_real import REALTrainer
from trl_real.checkpoints.folders import newest_complete
from trl_real.recipe.launch import end_processes


DEEPSPEED = ZERO3 | dict(
    zero_optimization=ZERO3["zero_optimization"] | dict(stage3_gather_16bit_weights_on_model_save=True)
)
LORA = dict(peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
# Processes, options of the configuration, arguments of the trainer
SETUPS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "one process": (1, {}, {}),
    "LoRA": (1, {}, LORA),
    "best checkpoint": (
        1,
        dict(metric_for_best_model="avg@4", load_best_model_at_end=True, save_total_limit=1, eval_steps=1),
        {},
    ),
    "ZeRO-3": (2, dict(deepspeed=DEEPSPEED), {}),
    "ZeRO-3, LoRA": (2, dict(deepspeed=DEEPSPEED), LORA),
    "DDP": (2, {}, {}),
    "FSDP2": (2, {}, {}),
    "FSDP2, LoRA": (2, {}, LORA),
}
KINDS = ("save", "generation", "update", "evaluation", "step", "final save")
LOADERS = {".safetensors": load_file} | dict.fromkeys((".pt", ".pth", ".bin"), partial(torch.load, weights_only=False))
# Times, and what Transformers means over the steps since the run was started or resumed
OF_A_PART = re.compile("time$|_per_second$|^train_loss$")


class Doomed(REALTrainer):
    doom: Doom

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self.doom.during("update"):
            return super().training_step(*args, **kwargs)

    def _generate(self, prompts: list) -> tuple:
        with self.doom.during("generation" if self.model.training else "evaluation"):
            return super()._generate(prompts)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        with self.doom.during("evaluation"):
            return super().evaluation_loop(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with self.doom.during("save"):
            super()._save_checkpoint(*args, **kwargs)


def live(setup: str, folder: Path, moment: Moment | None) -> None:
    """Trains from the newest checkpoint to the end, or to the moment at which this process is killed."""
    rank = int(os.environ.get("RANK", "0"))
    count, options, arguments = SETUPS[setup]
    if setup.startswith("FSDP2"):
        use_fsdp()
    doom = Doom(moment, folder / "run")
    defaults = dict(max_steps=6, save_strategy="steps", save_steps=2, save_total_limit=2)
    defaults |= dict(eval_strategy="steps", eval_steps=2, eval_on_start=True, lr_scheduler_type="linear")
    defaults |= dict(per_device_train_batch_size=4 // count, per_device_eval_batch_size=8 // count)
    torch.manual_seed(0)
    doomed = trainer(
        folder,
        trainer_class=Doomed,
        args=config(folder, **defaults | options),
        eval_dataset=prompts_dataset(4),
        **arguments,
    )
    doomed.doom = doom

    class Steps(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            with doom.during("step"):
                doom.event("step")

    doomed.add_callback(Steps)
    model = doomed.model.get_base_model() if "peft_config" in arguments else doomed.model
    model.register_forward_pre_hook(lambda *_: doom.event("forward") if doom.kind else None)
    doomed.train(resume_from_checkpoint=True)
    assert isinstance(next(doomed.model.parameters()), DTensor) == setup.startswith("FSDP2")
    with doom.during("final save"):
        doomed.save_model()
        doomed.save_state()
    (folder / f"events-{rank}.json").write_text(json.dumps(doom.events))
    end_processes(doomed.accelerator)
    sys.stdout.flush()


def start(setup: str, folder: Path, moment: Moment | None = None, rank: int = 0) -> list[int]:
    """A part of a run, to its end or until the process of this rank is killed; exit codes, negative for signals."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [(setup, folder, moment if index == rank else None) for index in range(SETUPS[setup][0])]
    return processes.start(live, arguments, folder / "said.txt")


def events(folder: Path, rank: int = 0) -> dict[str, list[str]]:
    """What happened in a process of the last part of a run, by kind."""
    return json.loads((folder / f"events-{rank}.json").read_text())


def log(folder: Path) -> list[dict[str, Any]]:
    """The log of the entire run without `OF_A_PART`."""
    state = json.loads((folder / "run" / "trainer_state.json").read_text())
    records = [*state["log_history"], dict(best_step=state["best_global_step"])]
    return [{name: value for name, value in record.items() if not OF_A_PART.search(name)} for record in records]


def tensors(folder: Path) -> dict[str, Any]:
    """Weights, optimizer, scheduler and random state, at the end and in the newest checkpoint, by file."""
    run = folder / "run"
    checkpoint = newest_complete(run)[0]
    files = [*run.glob("*.safetensors"), *(path for path in checkpoint.rglob("*") if path.suffix in LOADERS)]
    files = [path for path in files if path.name != "training_args.bin"]
    return {path.relative_to(run).as_posix(): LOADERS[path.suffix](path) for path in files}


def same(one: Any, other: Any) -> bool:
    """Bit by bit, whatever is in a checkpoint."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):  # loading may make one of the other
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other or same(getattr(one, "__dict__", None), getattr(other, "__dict__", 0))


def differences(folder: Path, undisturbed: Path) -> list[str]:
    one, other = tensors(folder), tensors(undisturbed)
    found = [name for name in sorted(one.keys() | other.keys()) if not same(one.get(name), other.get(name))]
    return ["log"] * (log(folder) != log(undisturbed)) + found
