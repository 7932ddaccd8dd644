"""
What TRL lacks for its engines: vLLM, DeepSpeed, DDP, FSDP and checkpointing leave the model as the loss expects it.

In: what the trainer has made of them: TRL's `VLLMGeneration`, the accelerator. Out: the same, corrected; warnings for
the log; backwards. Left out: generation itself, and vLLM, which need not be installed.
"""
