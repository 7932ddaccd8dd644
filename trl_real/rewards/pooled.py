"""Runs any reward function in processes that can be killed: judges that run code, solvers, anything that may hang."""

import inspect
import json
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from ..verifier.pool import VerifierPool, close_at_exit
from ..verifier.tasks import encode, import_function
from .calling import RewardError


logger = logging.getLogger(__name__)

TRAINER_ONLY = ("trainer_state", "log_metric", "log_extra", "environments")  # cannot be passed to other processes


def pooled(
    function: Callable[..., Any],
    timeout: float = 10.0,
    workers: int | None = None,
    batch_timeout: float | None = None,
    failed: float | None = 0.0,
    memory_mb: int = 8192,
) -> Callable[..., list[float | None]]:
    """
    A reward function whose calls can be killed.

    Logs, under the function's name, the metrics `NAME/killed` (share of completions whose call took too long or
    crashed), `NAME/errors` (share whose call raised) and `NAME/unjudged` (share for which `batch_timeout` did not
    suffice, without a reward).

    Args:
        function (`Callable`):
            A synchronous or asynchronous reward function at the top of a module, from which the processes import it.
            It is called with one completion at a time, in lists of one, and with the columns that it names, or all of
            them if it has `**kwargs`.
        timeout (`float`, *optional*, defaults to `10.0`):
            Seconds for each completion, by the clock.
        workers (`int`, *optional*):
            Number of processes. Default: this process's share of the CPUs, at most 4.
        batch_timeout (`float`, *optional*):
            Seconds for all completions of a call. Default: no limit besides that of each.
        failed (`float`, *optional*, defaults to `0.0`):
            Reward of a completion whose call was killed or raised; `None` for no label.
        memory_mb (`int`, *optional*, defaults to `8192`):
            Address space of each process.

    Raises:
        `ValueError`: If the function cannot be imported by its name, or needs `trainer_state`, `log_metric` and the
        like, which stay in the training process.

    Example:
    ```python
    # judges.py
    def passes(completions, tests, **kwargs):
        ...

    passes_in_time = pooled(passes, timeout=5, workers=8)
    ```
    """
    name = _importable_name(function)
    wanted = _wanted_columns(function, name)
    pool = close_at_exit(VerifierPool(workers, memory_mb, function=name))

    def reward(completions: list, log_metric: Callable[[str, float], None] | None = None, **given: Any) -> list:
        columns = {"completions": completions, **{key: given[key] for key in given if key not in TRAINER_ONLY}}
        if wanted is not None:
            columns = {key: values for key, values in columns.items() if key in wanted}
        calls = [encode({key: [values[row]] for key, values in columns.items()}) for row in range(len(completions))]
        verdicts = pool.judge(calls, timeout, batch_timeout or timeout * max(1, len(calls)))
        return _rewards(verdicts, function.__name__, failed, log_metric)

    # Its name is that of the trainer's metrics, its signature has the columns that it needs
    return wraps(function)(reward)


def _importable_name(function: Callable[..., Any]) -> str:
    """`"module:name"` of a function; `ValueError` if another process cannot import it."""
    module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    where = "write it with `def` at the top of a separate module, such as judges.py, and import it from there"
    if module == "__main__":
        raise ValueError(f"pooled: {path} is in the script that is run, or in a notebook; {where}.")
    if not path or "<" in path:
        raise ValueError(f"pooled: {path or repr(function)} has no name that can be imported; {where}.")
    try:
        found = import_function(f"{module}:{path}")
    except (ImportError, AttributeError) as error:
        raise ValueError(f"pooled: {module}.{path} cannot be imported ({error}); {where}.") from error
    if found is not function:
        raise ValueError(
            f"pooled: {module}.{path} is another function than the given one: a decorator or pooled(...) has its "
            "name. Use different names."
        )
    return f"{module}:{path}"


def _wanted_columns(function: Callable[..., Any], name: str) -> set[str] | None:
    """Columns that a function names; `None` if it accepts all."""
    parameters = inspect.signature(function).parameters.values()
    lacking = [each.name for each in parameters if each.name in TRAINER_ONLY and each.default is each.empty]
    if lacking:
        raise ValueError(f"pooled: {name} needs `{lacking[0]}`, which stays in the training process; remove it.")
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return None if takes_all else {each.name for each in parameters}


def _rewards(
    verdicts: list[str], name: str, failed: float | None, log_metric: Callable[[str, float], None] | None
) -> list[float | None]:
    """Rewards from verdicts. An error in some calls is logged, in all calls it is raised."""
    answers = [{} if verdict in ("killed", "unjudged") else json.loads(verdict) for verdict in verdicts]
    wrong = next((answer["returned"] for answer in answers if "returned" in answer), None)
    if wrong is not None:
        raise RewardError(
            f"reward_funcs: {name} returned {wrong} for one completion; return a list with one number, or None, for "
            "each completion."
        )
    errors = [answer["error"] for answer in answers if "error" in answer]
    if errors and len(errors) == len(verdicts):
        raise RewardError(f"reward_funcs: {name} raised {errors[0]} on every completion.")
    if errors:
        logger.warning(f"{name} raised an error on {len(errors)} of {len(verdicts)} completions: {errors[0]}")
    if log_metric is not None and verdicts:
        log_metric(f"{name}/killed", verdicts.count("killed") / len(verdicts))
        log_metric(f"{name}/errors", len(errors) / len(verdicts))
        log_metric(f"{name}/unjudged", verdicts.count("unjudged") / len(verdicts))
    return [
        None if verdict == "unjudged" else answer.get("reward", failed)
        for verdict, answer in zip(verdicts, answers, strict=True)
    ]
