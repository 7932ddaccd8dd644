"""
What is logged of an optimizer step: histograms, labels and weights of rollouts, and warnings.

In: scores, labels and weights. Out: counts and warnings. Left out: means (`step/metrics.py`) and pictures (`figures`).
"""
