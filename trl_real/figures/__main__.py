"""`python -m trl_real.figures`: see `commands.py`."""

import sys

from .commands import main


main(sys.argv[1:])
