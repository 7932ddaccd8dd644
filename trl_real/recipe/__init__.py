"""A recipe: a YAML file and a command line become options, a batch, data, rewards, checks and a plan."""
