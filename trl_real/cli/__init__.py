"""The command `trl-real`, also `python -m trl_real`. Nothing here imports torch before it is needed."""

from .commands import main


__all__ = ["main"]
