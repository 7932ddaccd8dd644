"""
What TRL's link to vLLM needs beside it: weights that are handed over without a trace, and what else is worth knowing.

In: TRL's `VLLMGeneration`, made by its trainer. Out: the same, which hands vLLM merged copies of an adapter's layers;
sentences for the log. Left out: generation itself, and vLLM, which need not be installed.
"""
