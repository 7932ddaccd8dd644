"""
What is looked at before training: trackers, rewards and data, adapters, dropout, and settings that work but are hardly
meant.

In: the arguments, a model and its adapters. Out: an error that says what to write instead, a model without dropout, or
sentences for the log. Left out: fields of the arguments (`../config.py`).
"""
