"""What TRL lacks for vLLM, DeepSpeed, DDP, FSDP and checkpointing, so that the model is as the loss expects it."""
