"""Pass@1 of finished models on the paper's benchmarks or a recipe's held-out set."""
