"""
Every combination of the settings of a run on several GPUs, on CPUs: has each optimizer step the right gradient?

`cells.py` is the table, `run.py` trains a cell in every process, `judge.py` starts the processes and compares.
`test_settings.py` takes cells in which every pair of settings meets; `python -m tests.settings` takes all.
"""
