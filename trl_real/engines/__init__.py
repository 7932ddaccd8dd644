"""
What engines need beside TRL: vLLM gets weights that leave no trace, DeepSpeed, DDP and FSDP keep gradients right.

In: what the trainer has made of them: TRL's `VLLMGeneration`, the accelerator. Out: the same, mended; sentences for
the log; backwards. Left out: generation itself, and vLLM, which need not be installed.
"""
