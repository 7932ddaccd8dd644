"""
What is looked at once, before the first step.

In: the arguments of a trainer. Out: a `ValueError` before any weight is read, advice for the log, a model without
dropout. Left out: what a configuration finds by itself (`trl_real.trainer.config`).
"""
