"""
The study behind docs/results.md: methods over learning rates and seeds on a task that a CPU trains in seconds.

In: a plan (`studies/*.yaml`). Out: a record for each training (`cell.py`), tables (`records.py`) and a figure.
Left out: anything a user's own run needs; nothing in `trl_real` or `recipes` imports this folder.
"""
