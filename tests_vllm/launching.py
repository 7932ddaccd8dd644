"""Starts what a test of an engine needs, in processes of their own."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest
import torch

from tests.support.scripts import ROOT
from tests_vllm.train_case import prepare_model


PLUGIN = Path(__file__).parent / "plugin"
ENVIRONMENT = dict(
    VLLM_HOST_IP="127.0.0.1",  # for machines whose own name leads nowhere
    VLLM_NO_USAGE_STATS="1",
    PYTHONFAULTHANDLER="1",
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="PASSIVE",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
)
if not torch.cuda.is_available():
    ENVIRONMENT |= dict(
        VLLM_CPU_KVCACHE_SPACE="1",  # GiB
        TORCHDYNAMO_DISABLE="1",  # spares vLLM compilers, as the next two do
        VLLM_USE_AOT_COMPILE="0",
        VLLM_CPU_CI_ENV="1",
        CUDA_VISIBLE_DEVICES="",
        DS_ACCELERATOR="cpu",
    )
PATIENCE = 600  # seconds; on an idle machine a case takes a tenth


def environment(**more: str) -> dict[str, str]:
    """
    The variables of a process with vLLM; what is running now (pytest) leaves none of its launcher's. Without a port of
    its own a single process would take Accelerate's, as would another test's.
    """
    ours = {"PYTHONPATH": f"{ROOT}{os.pathsep}{PLUGIN}", "MASTER_PORT": str(free_port())}
    return os.environ | ENVIRONMENT | ours | more


def free_port() -> int:
    """A port below those that the system gives to connections, so that none of them can take it meanwhile."""
    while True:
        port = random.randrange(12000, 30000)
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def start(command: list[str], file: TextIO, **variables: str) -> subprocess.Popen:
    """Starts Python on these words, in a session of its own."""
    words, how = [sys.executable, *command], dict(stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    return subprocess.Popen(words, cwd=ROOT, env=environment(**variables), **how)


def end_group(process: subprocess.Popen) -> None:
    """Ends a process that was started in a session of its own, with all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def wait_for(process: subprocess.Popen, port: int, said: Path) -> None:
    """Returns when the server answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
                return
        except OSError:
            time.sleep(1)
    pytest.fail(f"the server does not answer:\n{said.read_text('utf-8')[-8000:]}")


def run_to_end(command: list[str], folder: Path, **variables: str) -> tuple[int | None, str]:
    """Runs Python on these words; its exit status (`None`: it had to be ended), and what it said."""
    said = folder / "said.txt"
    with said.open("w", encoding="utf-8") as file:
        process = start(command, file, **variables)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_group(process)
    return code, said.read_text("utf-8")


def run(command: list[str], folder: Path, **variables: str) -> str:
    """Runs Python on these words, which must end well; what it said."""
    code, text = run_to_end(command, folder, **variables)
    if code != 0:
        pytest.fail(f"{command} ended with {code}:\n{text[-8000:]}")
    return text


@dataclass
class Trained:
    """What a case that trains left in its folder."""

    probes: list[list[dict[str, Any]]]  # for each process the generations that the probe saw
    seen: dict[str, Any]

    @property
    def gap(self) -> float:
        """Largest distance of vLLM's log-probabilities from those of the model in training."""
        return max(each["gap"] for probe in self.probes for each in probe)

    @property
    def rewards(self) -> list[float]:
        return [entry["reward"] for entry in self.seen["log"] if "reward" in entry]


def read_probes(folder: Path) -> list[list[dict[str, Any]]]:
    files = sorted((folder / "probe").glob("*.jsonl"))
    return [[json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in files]


def torchrun(processes: int) -> list[str]:
    return ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] * (processes > 1)


def train(folder: Path, processes: int = 1, lora: bool = False, variables: Any = None, **options: Any) -> Trained:
    """Trains a tiny model, or an adapter, with vLLM; `variables` are the environment's, options REALConfig's."""
    (folder / "probe").mkdir()
    if not (folder / "model").exists():
        prepare_model(folder)
    asked = json.dumps({"options": options, "lora": lora})
    words = [*torchrun(processes), "-m" if processes == 1 else "--module", "tests_vllm.train_case", str(folder), asked]
    run(words, folder, ENGINES_PROBE=str(folder / "probe"), **(variables or {}))
    return Trained(read_probes(folder), json.loads((folder / "seen.json").read_text("utf-8")))


def check_learned(run: Trained, processes: int = 1, gap: float = 1e-4) -> None:
    """Every generation was sampled from the weights of that moment, in the order of the prompts, and rewards rise."""
    assert len(run.probes) == processes and all(len(probe) == len(run.rewards) for probe in run.probes)
    # Weights of an earlier moment are off by 0.01 and more in a generation, rounding by about 0.00001
    assert run.gap < gap, [[each["gap"] for each in probe] for probe in run.probes]
    assert all(each["asked"] == each["answered"] for probe in run.probes for each in probe)
    assert sum(run.rewards[-5:]) / 5 > sum(run.rewards[:3]) / 3 + 0.2
