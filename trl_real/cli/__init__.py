"""
The command `trl-real`, also `python -m trl_real`: train, evaluate, figures, data, recipes, doctor.

In: a command line. Out: a run, a picture, a list or a report, or one line `error: ...`. Left out: what the commands
do, which the other folders contain. Nothing here imports torch before it is needed.
"""

from .commands import main


__all__ = ["main"]
