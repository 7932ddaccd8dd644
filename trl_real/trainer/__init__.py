"""
REALTrainer and REALConfig: TRL's GRPOTrainer with REAL in place of its loss.

What differs from the paper, from its code, or from GRPOTrainer:

1. A group in which all rollouts are correct or all incorrect has no loss but counts in the mean, as in the authors'
   code and unlike Eq. 8 as printed (`degenerate_groups="keep"`).
2. Rollouts without a gradient are not run; the others are packed without padding if the model supports it. Entropy,
   scores and KL are therefore logged over the trained rollouts.
3. Groups go to the optimizer steps of a generation in data order. TRL shuffles single sequences, which splits groups.
4. The KL term, the entropy bonus and the MoE balance loss are means over rollouts of each rollout's own mean. TRL's
   are means over the tokens of a micro-batch, which depend on the batching.
5. `disable_dropout` defaults to true, since a score compares two forwards of the same rollout.
6. Metrics of evaluation are those of the complete set, in which every prompt counts once (`validation`).
"""

from .config import REALConfig
from .trainer import REALTrainer


__all__ = ["REALConfig", "REALTrainer"]
