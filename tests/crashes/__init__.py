"""
Runs that are killed at a named moment, resumed, and compared bit by bit with an undisturbed one (docs/crashes.md).

Kills at random would find nothing that is not found by counting. A few are tests, `tests/checkpoints/test_crashes.py`.
"""
