"""A run in the terminal: a progress bar with a few metrics and the time left, and a table of before and after."""

import re
import time
from collections import Counter, defaultdict, deque
from statistics import mean
from typing import Any

from tqdm import tqdm
from transformers import TrainerControl, TrainerState
from transformers.trainer_callback import ProgressCallback


class TimeLeft:
    """
    Estimates the time left of a run in which the first step of every generation, which samples, takes longer.
    `period` is the number of optimizer steps per generation; below 1, every step samples.
    """

    LAST = 8  # times of each kind that are averaged, since completions become longer or shorter

    def __init__(self, period: float):
        self.period = max(1, round(period))
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=self.LAST))

    def add_step(self, step: int, seconds: float) -> None:
        """Adds the time of an optimizer step; the first is 1."""
        self._seconds[self._kind(step)].append(seconds)

    def add_evaluation(self, seconds: float) -> None:
        """Adds the time of an evaluation."""
        self._seconds["evaluation"].append(seconds)

    def seconds(self, step: int, last: int, evaluations: int) -> float | None:
        """The time from `step` to the `last` step; `None` before each kind of step has been seen."""
        counts = Counter(self._kind(later) for later in range(step + 1, last + 1))
        if any(kind not in self._seconds for kind in counts):
            return None
        counts["evaluation"] = evaluations if "evaluation" in self._seconds else 0
        return sum(count * mean(self._seconds[kind]) for kind, count in counts.items() if count)

    def _kind(self, step: int) -> str:
        return "generation" if (step - 1) % self.period == 0 else "update"


class ShortProgress(ProgressCallback):
    """The progress bar, with the few most important metrics and the time left of the entire run."""

    SHOWN = re.compile(r"reward|groups/mixed|entropy|loss|eval_(.+_)?(reward|avg@\d+)")
    BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"  # without tqdm's estimate from equally long steps
    training_bar: tqdm | None
    prediction_bar: tqdm | None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        steps = args.steps_per_generation * args.num_iterations
        self.time_left = TimeLeft(steps / args.gradient_accumulation_steps)
        self.clock = time.perf_counter()
        if self.training_bar is not None:
            self.training_bar.bar_format = self.BAR
            self._show("evaluating" if args.eval_on_start else "")

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.clock = time.perf_counter()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.time_left.add_step(state.global_step, time.perf_counter() - self.clock)
        self.clock = time.perf_counter()
        super().on_step_end(args, state, control, **kwargs)
        self._show(self._describe_time(args, state) + (", evaluating" if control.should_evaluate else ""))

    def _describe_time(self, args: Any, state: TrainerState) -> str:
        every = state.eval_steps if args.eval_strategy == "steps" else None
        evaluations = state.max_steps // every - state.global_step // every if every else 0
        left = self.time_left.seconds(state.global_step, state.max_steps, int(evaluations))
        return "time left not known yet" if left is None else f"about {tqdm.format_interval(left)} left"

    def on_prediction_step(self, *args: Any, **kwargs: Any) -> None:
        super().on_prediction_step(*args, **kwargs)
        if self.prediction_bar is not None and not self.prediction_bar.desc:
            self.prediction_bar.set_description("evaluation, batches")

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        super().on_evaluate(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.time_left.add_evaluation(time.perf_counter() - self.clock)
            self.clock = time.perf_counter()
            self._show(self._describe_time(args, state))

    def _show(self, text: str) -> None:
        if self.training_bar is not None:
            self.training_bar.set_postfix_str(text)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        known = {name: value for name, value in (logs or {}).items() if isinstance(value, float)}
        shown = [f"{name} {value:.3f}" for name, value in known.items() if self.SHOWN.fullmatch(name)]
        if shown and self.training_bar is not None:
            self.training_bar.write(f"step {state.global_step:>5}   " + "   ".join(shown))


def before_and_after(log_history: list[dict[str, Any]], metric: str, questions: int, samples: int) -> str:
    """The table of the held-out reward before and after training; `metric` is its name in the log."""
    columns = ("step", metric, f"{metric}_stderr")
    evaluations = [tuple(record[name] for name in columns) for record in log_history if metric in record]
    lines = [f"Held-out reward (pass@1 where rewards are 0 or 1), {questions} questions x {samples} samples"]
    for name, (step, reward, error) in zip(("before", "after"), (evaluations[0], evaluations[-1]), strict=True):
        line = f"  {name:<7} step {step:>5}   {reward:.3f}"
        if error is not None:
            line += f" ± {error:.3f} (standard error)"
        lines.append(line)
    return "\n".join(lines)
