"""
Griffe extension: docstrings in TRL's format, as the parser of Google's format reads them.

In: ``tau (`float`, *optional*, defaults to `0.5`):``, ``[`~trl.GRPOConfig`]`` and ``` `ValueError`: If ... ```. Out:
`tau (float):` (mkdocstrings takes the default from the signature), a link where the API page has the name and code
elsewhere, and `ValueError: If ...`. Left out: everything that the two formats share.
"""

import inspect
import re
from typing import Any

from griffe import Attribute, ExprCall, Extension, Object

from trl_real import REALConfig
from trl_real.recipe.options import RecipeArguments


NAMES_ON_TWO_LINES = re.compile(r"^( +[\w, ]+,)\n +([\w, ]+:)$", re.MULTILINE)
FIELD = re.compile(r"^( +)([\w*, ]+) \(([`\[].+)\):$", re.MULTILINE)
OUTCOME = re.compile(r"^( +)`([\w.\[\], |]+)`(?: of shape (`\([^`]*\)`))?: ", re.MULTILINE)
OUTCOMES = re.compile(r"^(?:Raises|Returns):\n((?: .*\n?)+)", re.MULTILINE)
PAGE = re.compile(r"`?\bdocs/([\w/-]+\.md)`?")
REFERENCE = re.compile(r"\[`(~?)([\w.]+)`\](?!\[)")
# What reference/api.md shows, by the name that docstrings use
SHOWN = {
    **{name: f"trl_real.{name}" for name in ("REALTrainer", "REALConfig")},
    **{name: f"trl_real.objective.{name}" for name in ("sequence_scores", "group_losses", "score_weights")},
    "math_reward": "trl_real.rewards.math_reward",
    "load_prompts": "trl_real.data.loading.load_prompts",
}
# Their options are added to the docstring when they are imported
WRITTEN = {config.__name__: config for config in (REALConfig, RecipeArguments)}


def google_style(text: str) -> str:
    """A docstring of TRL's format in Google's."""
    text = NAMES_ON_TWO_LINES.sub(r"\1 \2", text)
    text = FIELD.sub(_field, text)
    text = OUTCOMES.sub(lambda found: _indent_continuations(found[0]), text)
    text = OUTCOME.sub(lambda found: f"{found[1]}{found[2]}: {f'Of shape {found[3]}. ' if found[3] else ''}", text)
    text = PAGE.sub(r"[docs/\1](../\1)", text)  # seen from reference/api.md
    return REFERENCE.sub(_link, text)


def _field(found: re.Match[str]) -> str:
    """Names and type alone; whether a field may be left out, and its default, are in the signature."""
    indent, names, types = found.groups()
    if "), " in types:  # a (`float`), b (`int`): one line for several fields
        names = re.sub(r" \([^()]*\)", "", f"{names} ({types})")
    kind = re.sub(r"\[?`~?([^`]+)`\]?", r"\1", types.split(", *optional*")[0].split("), ")[0])
    return f"{indent}{names} ({kind}):"


def _indent_continuations(section: str) -> str:
    """Google's format wants the second line of an entry further in; TRL's has it below the first."""
    head, *lines = section.splitlines(keepends=True)
    return head + "".join(line if OUTCOME.match(line) else f"    {line}" for line in lines)


def _link(found: re.Match[str]) -> str:
    shown = found[2].rpartition(".")[2] if found[1] else found[2]
    target = SHOWN.get(shown)
    return f"[`{shown}`][{target}]" if target else f"`{shown}`"


class TRLDocstrings(Extension):
    """Rewrites every docstring once it is read, and finds the default in `option(default, help)`."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Called by Griffe for every module, class, function and attribute."""
        if obj.name in WRITTEN and obj.docstring is not None:
            obj.docstring.value = inspect.cleandoc(WRITTEN[obj.name].__doc__)
        if obj.docstring is not None:
            obj.docstring.value = google_style(obj.docstring.value)

    def on_attribute_instance(self, *, attr: Attribute, **kwargs: Any) -> None:
        """Called by Griffe for every attribute as it is read, before the signatures of dataclasses are made."""
        if isinstance(attr.value, ExprCall) and str(attr.value.function) in ("option", "_option"):
            attr.value = attr.value.arguments[0]
