"""
REALTrainer and REALConfig: TRL's GRPOTrainer with REAL in place of its loss.

In: what GRPOTrainer takes. Out: a trained model. Left out: the mathematics (`objective`), the planning (`update`), and
everything that TRL does: generation, rewards, logging, checkpoints.
"""

from .config import REALConfig
from .trainer import REALTrainer


__all__ = ["REALConfig", "REALTrainer"]
