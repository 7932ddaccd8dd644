"""
A recipe: a YAML file and a command line become options, a batch, data, rewards, checks and a plan.

In: a command line. Out: all that a trainer needs, or a `ValueError` that names the field. Left out: training.
"""
