"""
Answers of models, by Inspect AI: its task, its logs, its engines.

In: models, prompts and how to sample. Out: log files of Inspect with every sample and its verdict. Left out: what an
answer is worth (`verdicts.py` of the folder above), and what follows from it (`results.py`).
"""
