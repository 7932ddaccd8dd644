"""Exact evaluation during training, shared by REAL and the baselines; for finished models see `evaluation`."""
