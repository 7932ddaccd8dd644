"""
Runs that are killed at a named moment, resumed, and compared with one that nobody disturbed.

In: a setup (one process or two, what is trained) and the moments of the kills. Out: whether the run ended with the
same weights and log, bit by bit (docs/crashes.md; a few of them are tests, `tests/checkpoints/test_crashes.py`).
Left out: kills at random, which would find nothing that is not found by counting.
"""
