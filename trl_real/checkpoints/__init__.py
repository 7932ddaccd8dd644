"""Complete checkpoints or none, so that a process may be killed at any moment."""
