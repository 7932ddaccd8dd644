"""
What engines need beside TRL: vLLM, DeepSpeed, FSDP and gradient checkpointing leave the model as the loss expects it.

In: what the trainer has made of them: TRL's `VLLMGeneration`, the accelerator. Out: the same, mended; sentences for
the log. Left out: generation itself, and vLLM, which need not be installed.
"""
