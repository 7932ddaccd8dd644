"""
GRPOTrainer whose checkpoints are complete, and which resumes from the newest complete one wherever a run ended.

Of several processes, the main one finds, moves and removes checkpoints.
"""

from pathlib import Path
from typing import Any

from accelerate.logging import get_logger
from accelerate.utils import broadcast_object_list
from transformers.trainer_utils import TrainOutput
from trl import GRPOTrainer

from ..compat import rotate_checkpoints
from .folders import ASIDE, STATE, check_complete, has_evaluated, newest_complete, publish, tidy


logger = get_logger(__name__)


class CheckpointingTrainer(GRPOTrainer):
    """
    [`~trl.GRPOTrainer`] that can be killed at any moment and resumed. Arguments as for [`~trl.GRPOTrainer`].

    Transformers and TRL write a checkpoint into a folder aside, which gets the checkpoint's name when all processes
    are done. Older checkpoints are removed only then.
    """

    _aside: Path | None = None  # while a checkpoint is being written

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """
        As Transformers', except for `resume_from_checkpoint`: a checkpoint, or `True` for the newest complete one in
        `output_dir`, or a new start if there is none. `ValueError` if the named checkpoint is incomplete.
        """
        checkpoint, evaluated = self._resume_point(resume_from_checkpoint)
        eval_on_start = self.args.eval_on_start
        self.args.eval_on_start = eval_on_start and not evaluated  # once per run, not after every resumption
        try:
            return super().train(checkpoint, trial, ignore_keys_for_eval)
        finally:
            self.args.eval_on_start = eval_on_start

    def _resume_point(self, wanted: str | bool | None) -> tuple[str | None, bool]:
        """Removes interrupted saves; returns the checkpoint to resume from and whether its run has evaluated."""
        found: list[Any] = [None, False, None]
        output_dir = Path(str(self.args.output_dir))
        for name in tidy(output_dir) if self.args.should_save else ():
            logger.warning(f"Saving {output_dir / name} was interrupted; the incomplete files are removed.")
        if self.accelerator.is_main_process:
            try:
                found[0] = self._find_checkpoint(wanted, output_dir, self.args.save_only_model)
                found[1] = found[0] is not None and has_evaluated(Path(found[0]))
            except ValueError as error:
                found[2] = str(error)
        checkpoint, evaluated, error = broadcast_object_list(found)
        if error is not None:  # on every process, as the others would wait for the main one
            raise ValueError(error)
        return checkpoint, evaluated

    def _find_checkpoint(self, wanted: str | bool | None, output_dir: Path, only_model: bool) -> str | None:
        if not wanted:
            return None
        if wanted is not True:
            check_complete(wanted, output_dir, only_model)
            return str(wanted)
        complete, skipped = newest_complete(output_dir, only_model)
        if complete is None:
            skipped = skipped or [f"There is no checkpoint in {output_dir}"]
        for clause in skipped:
            consequence = f"resumes from {complete}" if complete else "starts from scratch"
            logger.warning(f"{clause}. Training {consequence}.")
        return None if complete is None else str(complete)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)
        else:  # resumed after the last step; Transformers would run one more
            self.control.should_training_stop = True

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._aside is None else str(self._aside)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial))
        aside = folder / ASIDE
        self._aside = aside
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._aside = None
        name = f"checkpoint-{self.state.global_step}"
        if self.state.best_model_checkpoint == str(aside / name):
            self.state.best_model_checkpoint = str(folder / name)
            if self.args.should_save:
                self.state.save_to_json(str(aside / name / STATE))
        self._publish(aside / name, folder / name)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(folder / name))
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            rotate_checkpoints(str(folder), self.args.save_total_limit, best, use_mtime=True)

    def _publish(self, checkpoint: Path, place: Path) -> None:
        """Moves the checkpoint to its place once all processes have written."""
        # With `save_on_each_node`, the node that finds the newest one moves last
        for main_process in (False, True):
            self.accelerator.wait_for_everyone()
            if self.args.should_save and self.accelerator.is_main_process is main_process:
                publish(checkpoint, place)
        self.accelerator.wait_for_everyone()

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._aside is None:  # otherwise it is about to be moved, and is pushed afterwards
            super()._push_from_checkpoint(checkpoint_folder)
