"""
What vLLM, DeepSpeed and DDP need beside TRL: weights that are handed over without a trace, gradients that add up.

In: TRL's `VLLMGeneration`, made by its trainer; the accelerator. Out: the same, which hands vLLM merged copies of an
adapter's layers; sentences for the log; backwards. Left out: generation itself, and vLLM, which need not be installed.
"""
