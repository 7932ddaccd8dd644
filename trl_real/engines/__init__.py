"""
What engines need beside TRL: vLLM gets weights that leave no trace, DeepSpeed and FSDP keep what the loss relies on.

In: what the trainer has made of them: TRL's `VLLMGeneration`, the accelerator. Out: the same, mended; sentences for
the log. Left out: generation itself, and vLLM, which need not be installed.
"""
