"""
What is looked at before training: adapters, dropout and settings that work but are hardly meant.

In: a model, its adapters and the arguments. Out: an error that says what to write instead, a model without dropout, or
sentences for the log. Left out: fields of the arguments (`../config.py`).
"""
