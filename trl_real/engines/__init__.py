"""What TRL lacks for its engines: vLLM, DeepSpeed, DDP, FSDP and checkpointing leave the model as the loss expects."""
