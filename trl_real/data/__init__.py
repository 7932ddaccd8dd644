"""Prompts and accepted answers, from files, folders, the hub or Reasoning Gym; mathematical data sets are cleaned."""
