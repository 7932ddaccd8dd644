"""
The rehearsal: does everything that a run needs work on this machine? Made for the first hour on a new GPU.

In: the machine. Out: a row for each check, with what was measured, and all of it as JSON. Every check is a process of
its own with a time limit, so that one that crashes is a row, and not the end. Left out: the command
(`trl-real doctor --gpu`), and whether a model learns, which takes longer.
"""
