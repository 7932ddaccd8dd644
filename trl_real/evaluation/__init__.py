"""
Pass@1 of finished models on the paper's benchmarks or a recipe's held-out set.

In: models and problems. Out: logs of Inspect AI with every answer and its verdict, estimates with intervals, tables.
Left out: evaluation during training (`trl_real.validation`).
"""
