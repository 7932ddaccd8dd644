"""`python -m trl_real`: the command `trl-real`."""

from .cli import main


main()
