"""Calls reward functions, with errors that name them and propose what to write."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..verifier.tasks import result_of


class RewardError(ValueError):
    """A reward function cannot be used as it is."""


def checked(function: Callable, name: str, is_async: bool) -> Callable:
    """The same reward function with checked rewards and errors that contain its name; async if it is."""

    def call(**given: Any) -> list[float | None]:
        with _naming_errors(name, given["completions"]):
            returned = function(**given)
        return check_returned(returned, name, len(given["completions"]))

    async def call_async(**given: Any) -> list[float | None]:
        with _naming_errors(name, given["completions"]):
            returned = await function(**given)
        return check_returned(returned, name, len(given["completions"]))

    return call_async if is_async else call


def call_reward(function: Callable, name: str, given: dict[str, list]) -> list[float | None]:
    """The rewards of a synchronous or asynchronous function. Arguments as in [`checked`]."""
    return checked(lambda **given: result_of(function(**given)), name, is_async=False)(**given)


def check_returned(returned: Any, name: str, completions: int) -> list[float | None]:
    """The rewards as a list; [`RewardError`] if they are not one number, or `None`, for each completion."""
    proposal = f"return a list with one number, or None, for each of the {completions} completions."
    if isinstance(returned, str) or not isinstance(returned, Iterable):
        raise RewardError(f"reward_funcs: {name} returned {_shown(returned)}; {proposal}")
    rewards = list(returned)
    for position, reward in enumerate(rewards):
        if reward is not None and (isinstance(reward, str) or not hasattr(reward, "__float__")):
            raise RewardError(
                f"reward_funcs: {name} returned {_shown(reward)} for completion {position} (from 0); {proposal}"
            )
    if len(rewards) != completions:
        raise RewardError(f"reward_funcs: {name} returned {len(rewards)} rewards, {_shown(rewards)}; {proposal}")
    return rewards


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:60] + '...'} ({type(value).__name__})"


@contextmanager
def _naming_errors(name: str, completions: list) -> Iterator[None]:
    """Explains errors of functions that expect messages but get texts, or the reverse; adds the name to others."""
    try:
        yield
    except Exception as error:
        explanation = _explain_kind(error, completions)
        if explanation is None:
            error.add_note(f"This was in the reward function {name}.")
            raise
        raise RewardError(
            f"reward_funcs: {name} failed with {type(error).__name__}: {error}. {explanation}"
        ) from error


def _explain_kind(error: Exception, completions: list) -> str | None:
    kind = str if completions and isinstance(completions[0], str) else list
    is_mistaken = f"'{kind.__name__}'" in str(error) or "string indices" in str(error)
    if not isinstance(error, (TypeError, AttributeError)) or not is_mistaken:
        return None
    if kind is str:
        return (
            "The completions are texts: if it reads messages, set prompt_format: chat (in a script, make each prompt "
            "a list of messages)."
        )
    return "The completions are lists of messages: read completion[0]['content'], or set prompt_format: plain."
