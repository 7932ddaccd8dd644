"""Figures of runs and of the objective, also drawn by `trl-real figures`; they need the extra `plots`."""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("Figures need matplotlib. Run: pip install 'trl-real[plots]'") from error

from .gradients import GradientOptions, plot_gradients  # noqa: E402
from .run_log import Run, read_run, read_runs  # noqa: E402
from .scores import plot_scores  # noqa: E402
from .training import plot_comparison, plot_training  # noqa: E402


__all__ = [
    "GradientOptions",
    "Run",
    "plot_comparison",
    "plot_gradients",
    "plot_scores",
    "plot_training",
    "read_run",
    "read_runs",
]
