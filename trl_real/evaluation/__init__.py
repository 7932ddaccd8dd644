"""
Pass@1 of finished models on the paper's benchmarks or a recipe's held-out set.

In: models and problems. Out: verdicts on every sample, estimates with intervals, tables. Left out: sampling and its
files (`sampling`), and evaluation during training (`trl_real.validation`).
"""
