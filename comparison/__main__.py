"""`python -m comparison --config comparison/studies/chain5.yaml`: see `compare.py`."""

import sys

from .compare import main


if __name__ == "__main__":  # the workers import this module under another name
    main(sys.argv[1:])
