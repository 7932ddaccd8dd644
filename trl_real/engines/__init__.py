"""
What engines need beside TRL: vLLM, DeepSpeed, DDP, FSDP and checkpointing leave the model as the loss expects it.

In: what the trainer has made of them: TRL's `VLLMGeneration`, the accelerator. Out: the same, mended; sentences for
the log; backwards. Left out: generation itself, and vLLM, which need not be installed.
"""
