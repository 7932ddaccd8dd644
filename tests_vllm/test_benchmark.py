"""The benchmark of a whole training step with vLLM, started as its page says: it sets what a CPU needs itself."""

import os
import subprocess
import sys

from tests.support.scripts import ROOT
from tests_vllm.launching import PATIENCE, free_port


SMALL = "--hidden 64 --layers 1 --longest 32 --vocabulary 60 --rollouts 16 --group 4 --batch 4 --generations 1".split()


def test_a_whole_step_is_measured_with_vllm() -> None:
    command = [sys.executable, "benchmarks/whole_step.py", "--engine", "vllm", *SMALL]
    port = os.environ | {"MASTER_PORT": str(free_port())}  # another test may have Accelerate's
    process = subprocess.run(command, cwd=ROOT, env=port, capture_output=True, text=True, timeout=PATIENCE)
    assert process.returncode == 0, process.stderr[-8000:]
    assert "| generation |" in process.stdout and "| step |" in process.stdout
