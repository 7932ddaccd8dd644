"""
Calls a reward function, and says what is wrong with it by its name.

In: a reward function, and what TRL hands it. Out: a list with a number or `None` for each completion, or a
[`RewardError`] in one sentence. Left out: which functions there are (`functions`).
"""

from collections.abc import Callable, Iterable
from typing import Any

from ..verifier.tasks import finished


class RewardError(ValueError):
    """A reward function that cannot be used as it is; the message names it, and says what to write."""


def checked(function: Callable, name: str, is_async: bool) -> Callable:
    """
    The same reward function, which raises [`RewardError`] where TRL would fail without its name.

    Args:
        function (`Callable`):
            A reward function.
        name (`str`):
            What errors call it.
        is_async (`bool`):
            Whether it returns a coroutine; then the result does too.
    """
    if is_async:

        async def call(**given: Any) -> list[float | None]:
            try:
                returned = await function(**given)
            except Exception as error:
                raise _explained(error, name, given["completions"]) from error
            return check_returned(returned, name, len(given["completions"]))

    else:

        def call(**given: Any) -> list[float | None]:
            try:
                returned = function(**given)
            except Exception as error:
                raise _explained(error, name, given["completions"]) from error
            return check_returned(returned, name, len(given["completions"]))

    return call


def call_reward(function: Callable, name: str, given: dict[str, list]) -> list[float | None]:
    """The rewards of a function of either kind. Arguments as in [`checked`]."""

    return checked(lambda **given: finished(function(**given)), name, is_async=False)(**given)


def check_returned(returned: Any, name: str, completions: int) -> list[float | None]:
    """The rewards as a list; [`RewardError`] if they are not one number, or `None`, for each completion."""
    wanted = f"return a list with one number, or None, for each of the {completions} completions."
    if isinstance(returned, str) or not isinstance(returned, Iterable):
        raise RewardError(f"reward_funcs: {name} returned {_shown(returned)}; {wanted}")
    rewards = list(returned)
    for position, reward in enumerate(rewards):
        if reward is not None and (isinstance(reward, str) or not hasattr(reward, "__float__")):
            raise RewardError(
                f"reward_funcs: {name} returned {_shown(reward)} for completion {position} (from 0); {wanted}"
            )
    if len(rewards) != completions:
        raise RewardError(f"reward_funcs: {name} returned {len(rewards)} rewards, {_shown(rewards)}; {wanted}")
    return rewards


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:60] + '...'} ({type(value).__name__})"


def _explained(error: Exception, name: str, completions: list) -> Exception:
    """An error of a function that takes texts for messages, or messages for texts, says so; others get the name."""
    kind = str if completions and isinstance(completions[0], str) else list
    mistaken = isinstance(error, (TypeError, AttributeError)) and (
        f"'{kind.__name__}'" in str(error) or "string indices" in str(error)
    )
    if not mistaken:
        error.add_note(f"This was in the reward function {name}.")
        return error
    said = f"reward_funcs: {name} failed with {type(error).__name__}: {error}."
    if kind is str:
        return RewardError(
            f"{said} The completions are texts: if it reads messages, set prompt_format: chat (in a script, make each "
            "prompt a list of messages)."
        )
    return RewardError(
        f"{said} The completions are lists of messages: read completion[0]['content'], or set prompt_format: plain."
    )
