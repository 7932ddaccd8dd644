"""
What a training needs of a machine with GPUs: `make test-gpu`, or `python -m pytest tests_gpu` in your own environment.

Each number goes into a report. Without a GPU all tests are skipped. GPU_TESTS_ON_CPU=1 runs them in a small form, to
see that they themselves work.
"""
