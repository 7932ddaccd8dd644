"""
Complete checkpoints or none, so that a process may be killed at any moment.

In: what Transformers and TRL write of a checkpoint. Out: the checkpoint under its name once every process has written
all of it; the newest complete one to resume from. Left out: its content (Transformers, TRL), and the position in the
data after resuming (`trainer/position.py`).
"""
