"""
What is logged of an optimizer step: means, histograms, and a warning when updates overshoot.

In: scores, labels, weights and terms of the loss. Out: numbers that add up exactly over micro-steps and processes.
Left out: pictures (`figures`), and what TRL logs itself.
"""
