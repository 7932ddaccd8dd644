"""
The real vLLM on CPUs: `make test-vllm`, in an environment of its own.

Every case runs in processes of its own, since a colocated vLLM changes the process it is in: launcher's variables,
threads, a process group.
"""

import importlib.util
import os

import pytest

from tests.support.smollm2 import of_all_processes


# Where vLLM is not installed, `pytest` over everything finds nothing here
collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("vllm") is None else []


@pytest.fixture(scope="session", autouse=True)
def own_operators(tmp_path_factory: pytest.TempPathFactory) -> None:
    """DeepSpeed compiles anew: its lock is shared with other environments, and stays when a process is killed."""
    folder = of_all_processes(tmp_path_factory.getbasetemp()) / "operators"
    folder.mkdir(exist_ok=True)
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
