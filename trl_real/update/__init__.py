"""
One generation on its way through the update phase: rollouts, plan, forwards.

In: TRL's generation batch and its labels. Out: which rollouts run in which optimizer step, micro-step and process, and
the tensors of each forward. Left out: the mathematics (`objective`), and running the model (`trainer`).
"""
