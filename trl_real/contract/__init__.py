"""
What this package takes from TRL and Transformers beyond their documented symbols, checked when it is first needed.

In: the installed libraries. Out: nothing if every clause of `table.py` holds; a warning if they all hold on a TRL that
was not tested; an `ImportError` that names each broken one. Left out: what the names do in a training run, which
`tests/drop_in/test_contract.py` runs, and their import (`compat`).
"""

import warnings
from importlib.metadata import version

from packaging.version import Version

from .clauses import Library
from .table import CONTRACT


# First tested version, first that was not
TESTED = {"trl": ("1.16", "1.17"), "transformers": ("5.13", "5.24")}


def violations(trainer_class: type | None = None) -> list[str]:
    """
    The broken clauses of the contract, one sentence each.

    Args:
        trainer_class (`type`, *optional*):
            In place of [`~trl.GRPOTrainer`].
    """
    library = Library(trainer_class)
    return [sentence for clause in CONTRACT for sentence in clause.violations(library)]


def check_contract(installed: str | None = None, trainer_class: type | None = None) -> None:
    """
    Refuses a TRL that breaks the contract, and warns of one that keeps it without having been tested.

    Args:
        installed (`str`, *optional*):
            Version of TRL. The installed one by default.
        trainer_class (`type`, *optional*):
            In place of [`~trl.GRPOTrainer`].

    Raises:
        `ImportError`: If a clause is broken; names it, the tested versions, and the command that installs them.
    """
    installed = installed or version("trl")
    first, end = TESTED["trl"]
    if broken := violations(trainer_class):
        tested = {name: f"{name}>={low},<{high}" for name, (low, high) in TESTED.items()}
        raise ImportError(
            f"trl-real does not work with trl {installed} and transformers {version('transformers')}:\n- "
            + "\n- ".join(broken)
            + f"\nIt is tested with {' and '.join(tested.values())}. Run `pip install "
            + " ".join(f"'{requirement}'" for requirement in tested.values())
            + "`, or install a trl-real that supports yours."
        )
    if not Version(first) <= Version(Version(installed).base_version) < Version(end):
        warnings.warn(
            f"trl-real was not tested with trl {installed}, only with trl>={first},<{end}. Every name that it uses is "
            f"there with the signature it had, so it should work. To be sure, run `pip install 'trl>={first},<{end}'`."
        )
