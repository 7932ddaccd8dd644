"""
What a person sees of a run in the terminal: a progress bar with a few numbers, and a table of before and after.

In: the trainer's logs. Out: lines of text. All else that is logged goes to `trainer_state.json` and the trackers.
"""

import re
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback


class ShortProgress(ProgressCallback):
    """The progress bar, with the few numbers one watches instead of all that are logged."""

    SHOWN = re.compile(r"reward|groups/mixed|entropy|loss|eval_(.+_)?(reward|avg@\d+)")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Called by Transformers with each record of the log."""
        known = {name: value for name, value in (logs or {}).items() if isinstance(value, float)}
        shown = [f"{name} {value:.3f}" for name, value in known.items() if self.SHOWN.fullmatch(name)]
        if shown and self.training_bar is not None:
            self.training_bar.write(f"step {state.global_step:>5}   " + "   ".join(shown))


def before_and_after(log_history: list[dict[str, Any]], metric: str, questions: int, samples: int) -> str:
    """
    The table of the held-out reward before training and after it.

    Args:
        log_history (`list[dict]`):
            The trainer's log.
        metric (`str`):
            Name of the reward in its records of evaluations.
        questions (`int`):
            Number of held-out questions.
        samples (`int`):
            Completions sampled for each of them.

    Returns:
        `str`: the table.
    """
    columns = ("step", metric, f"{metric}_stderr")
    evaluations = [tuple(record[name] for name in columns) for record in log_history if metric in record]
    lines = [f"Held-out reward (pass@1 where rewards are 0 or 1), {questions} questions x {samples} samples"]
    for name, (step, reward, error) in zip(("before", "after"), (evaluations[0], evaluations[-1]), strict=True):
        line = f"  {name:<7} step {step:>5}   {reward:.3f}"
        if error is not None:
            line += f" ± {error:.3f} (standard error)"
        lines.append(line)
    return "\n".join(lines)
