"""
The real vLLM on CPUs: `make test-vllm`, in an environment of its own.

Every case runs in processes of its own, since a colocated vLLM changes the process it is in: launcher's variables,
threads, a process group.
"""

import importlib.util


# Where vLLM is not installed, `pytest` over everything finds nothing here
collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("vllm") is None else []
