"""
Prompts and their accepted answers, from files, folders, the hub or Reasoning Gym; mathematical data sets are cleaned.

In: the name of a data set. Out: rows with `prompt` and what the reward functions read, and a report of removed rows.
Left out: judging answers (`verifier`), and which data a run uses (`recipe`).
"""
