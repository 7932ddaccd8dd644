"""
Writes the model folder of the quickstart: `trl-real recipes model`, for a checkout.

    python recipes/smollm2.py                      # writes models/SmolLM2-135M-Instruct, 540 MB
    python recipes/smollm2.py --output_dir DIR
"""

import sys

from trl_real.cli.recipes import main


if __name__ == "__main__":
    main(["model", *sys.argv[1:]])
