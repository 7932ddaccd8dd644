"""
Exact evaluation during training: every prompt of a set counts once, whatever the batch size and number of processes.

In: evaluation sets. Out: avg@k, pass@k and TRL's metrics of each complete set; the best checkpoint by one of them;
errors before the start for arguments that cannot work. Left out: training. REAL and the baselines of the recipes share
it. For finished models see `evaluation`.
"""
