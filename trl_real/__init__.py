"""REAL ("Rewards as Labels", arXiv 2602.05630) for TRL: train language models on verifiable rewards as a classifier.

The pipeline, in reading order:

    rollouts.py      a generation batch as single rollouts; moving them between processes; padded micro-batches
    labels.py        rewards -> labels {1, 0, NaN}; what kind each group is
    plan.py          labels and lengths -> which rollout runs in which optimizer step, micro-step and process
    objective.py     scores (Eq. 5) -> weights (Eq. 9) and losses (Eq. 8, 2, 11): torch only
    generation.py    one generation in the update phase: rollouts, plan, and the weights of the current step
    regularizers.py  KL term, entropy bonus, MoE balance: what a user may add to the objective
    metrics.py       what is logged; histograms.py counts scores and weights
    trainer.py       REALTrainer: TRL's GRPOTrainer with the above in place of its loss
    resume.py        where a run stands after a checkpoint
    config.py        REALConfig; fields.py says what REAL makes of every field of GRPOConfig
    compat.py        the supported TRL, and every private name of it that is touched
"""

from . import compat as _compat  # refuses an unsupported TRL before anything else is imported
from .config import REALConfig
from .objective import group_losses, score_weights, sequence_scores
from .trainer import REALTrainer


__version__ = "0.1.0"

__all__ = ["REALConfig", "REALTrainer", "group_losses", "score_weights", "sequence_scores"]

del _compat
