"""
What this package uses of TRL and Transformers beyond their documented symbols, checked when it is first needed:
nothing happens if every clause of `table.py` holds on a tested TRL.
"""

import warnings
from importlib.metadata import version

from packaging.version import Version

from .clauses import Library, Returns
from .table import CONTRACT


# First tested version, first that was not
TESTED = {"trl": ("1.16", "1.17"), "transformers": ("5.13", "5.24")}


def violations(trainer_class: type | None = None) -> list[str]:
    """The broken clauses, one sentence each; of `trainer_class` instead of [`~trl.GRPOTrainer`], if given."""
    library = Library(trainer_class)
    return [sentence for clause in CONTRACT for sentence in clause.violations(library)]


def unread_keys() -> list[str]:
    """What the installed TRL returns with a generation and this package does not read."""
    return [key for clause in CONTRACT if isinstance(clause, Returns) for key in clause.unread(Library())]


def check_contract(installed: str | None = None, trainer_class: type | None = None) -> None:
    """Warns of a TRL (by default the installed one) that was not tested; `ImportError` if a clause is broken."""
    installed = installed or version("trl")
    first, end = TESTED["trl"]
    if broken := violations(trainer_class):
        tested = [f"{name}>={low},<{high}" for name, (low, high) in TESTED.items()]
        command = " ".join(f"'{requirement}'" for requirement in tested)
        lines = [f"trl-real does not work with trl {installed} and transformers {version('transformers')}:"]
        lines += [f"- {sentence}" for sentence in broken]
        lines += [
            f"It is tested with {' and '.join(tested)}. Run `pip install {command}`, or install a newer trl-real."
        ]
        raise ImportError("\n".join(lines))
    if not Version(first) <= Version(Version(installed).base_version) < Version(end):
        unread = unread_keys()
        new = (
            f" TRL now also returns {', '.join(unread)} with a generation, which REAL does not use." if unread else ""
        )
        warnings.warn(
            f"trl-real was not tested with trl {installed}, only with trl>={first},<{end}. Every name that it uses "
            f"exists with the same signature, so it should work.{new} To be sure, run "
            f"`pip install 'trl>={first},<{end}'`."
        )
