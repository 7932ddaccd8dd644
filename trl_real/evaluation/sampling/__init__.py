"""
Answers of models, kept on disk so that nothing is sampled twice.

In: models, prompts and how to sample. Out: a store with every sample. Left out: what an answer is worth (`verdicts.py`
of the folder above).
"""
