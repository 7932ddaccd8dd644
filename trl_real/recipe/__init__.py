"""
A recipe: a YAML file and a command line become options, a batch, data, rewards, checks and a plan.

In: the words of a command. Out: all that a trainer needs, or a `ValueError` that names the field. Left out: training.
"""
