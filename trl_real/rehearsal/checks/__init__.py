"""
The checks, each in a file of its own.

In: a folder to write to. Out: an `Outcome`, or an exception, which is a row too. Each is started by `__main__.py` in a
process of its own, or in several. Left out: which of them this machine can run (`table.py`).
"""
