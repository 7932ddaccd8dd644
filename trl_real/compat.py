"""The supported TRL, and every private or undocumented TRL name this package touches.

TRL promises stability for its documented symbols only, so the names below are imported here and nowhere else, and
`tests/drop_in/test_contract.py` checks how each of them behaves. A TRL outside the range is refused at import.
"""

from importlib.metadata import version

from packaging.version import Version


SUPPORTED_TRL = ("1.16", "1.17")  # first supported, first unsupported


def check_trl_version(installed: str) -> None:
    """Raise `ImportError` if the installed TRL is outside the range that the contract tests cover."""
    first, end = SUPPORTED_TRL
    if not Version(first) <= Version(Version(installed).base_version) < Version(end):
        raise ImportError(
            f"trl-real supports trl>={first},<{end}, but trl {installed} is installed. "
            f"Run `pip install 'trl>={first},<{end}'`, or install a trl-real that supports your TRL."
        )


check_trl_version(version("trl"))

from trl.models.utils import disable_gradient_checkpointing  # noqa: E402
from trl.trainer.utils import (  # noqa: E402
    get_config_model_id,
    nanstd,
    pad,
    split_pixel_values_by_grid,
    unsplit_pixel_values_by_grid,
    use_adapter,
)


__all__ = [
    "SUPPORTED_TRL",
    "check_trl_version",
    "disable_gradient_checkpointing",
    "get_config_model_id",
    "nanstd",
    "pad",
    "split_pixel_values_by_grid",
    "unsplit_pixel_values_by_grid",
    "use_adapter",
]
