"""
Pass@1 of models on the paper's benchmarks, or on the held-out set of a recipe: `trl_real/cli/evaluate.py`, for a
checkout.

    python recipes/evaluate.py --models deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B runs/real_1p5b
    python recipes/evaluate.py --config quickstart.yaml
"""

import sys

from trl_real.cli.commands import load
from trl_real.cli.overview import answered


if __name__ == "__main__":
    if not answered("evaluate", sys.argv[1:]):
        load("evaluate").main(sys.argv[1:])
