"""
Trains a language model with REAL on questions whose answers can be checked: `trl_real/cli/train.py`, for a checkout.

    python recipes/train.py --config quickstart.yaml
    accelerate launch recipes/train.py --config real_1p5b.yaml --learning_rate 1e-6 --max_steps 100
"""

import sys

from trl_real.cli.commands import load
from trl_real.cli.overview import answered


if __name__ == "__main__":
    if not answered("train", sys.argv[1:]):
        load("train").main(sys.argv[1:])
