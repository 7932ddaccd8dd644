"""
Pictures of runs and of the objective: `python -m trl_real.figures`, or the functions below.

In: log files of REALTrainer and GRPOTrainer. Out: PNG, PDF or SVG. Left out: what is logged (`metrics`), and the study
of methods (`comparison/`). Needs the extra `plots`.
"""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("Figures need matplotlib. Run: pip install 'trl-real[plots]'") from error

from .commands import main, plot_comparison, plot_gradients, plot_scores, plot_training  # noqa: E402
from .run_log import Run, read_run, read_runs  # noqa: E402


__all__ = [
    "Run",
    "main",
    "plot_comparison",
    "plot_gradients",
    "plot_scores",
    "plot_training",
    "read_run",
    "read_runs",
]
