"""`python -m trl_real.data`: see `commands.py`."""

import sys

from .commands import main


if __name__ == "__main__":  # the verifier's processes may import it again
    main(sys.argv[1:])
