"""What is logged of an optimizer step besides means (`step/metrics.py`): histograms, tables of rollouts, warnings."""
