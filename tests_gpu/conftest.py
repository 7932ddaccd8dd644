"""Skips all tests where there is no GPU, and writes what they measure to GPU_REPORT, by default gpu-report.json."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from torch.utils.collect_env import get_pretty_env_info

from tests_gpu.machine import GPUS, RUNS, VISIBLE


ROWS: dict[str, dict[str, Any]] = {}


def pytest_runtest_setup(item: pytest.Item) -> None:
    if not RUNS:
        pytest.skip("needs a GPU")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Writes after each test, so that a crash leaves what came before it."""
    if not RUNS or (report.when != "call" and report.passed):
        return
    said = report.longrepr[2] if report.skipped else report.longreprtext[-8000:]
    row = dict(outcome=report.outcome, seconds=round(report.duration, 1), said=said)
    ROWS[report.nodeid] = row | dict(report.user_properties)
    path = Path(os.environ.get("GPU_REPORT", "gpu-report.json"))
    path.write_text(json.dumps(machine() | {"tests": ROWS}, indent=1) + "\n", "utf-8")


@cache
def machine() -> dict[str, Any]:
    """What the numbers belong to."""
    packages = sorted((found.name, found.version) for found in metadata.distributions())
    environment = get_pretty_env_info().splitlines()
    return {"date": datetime.now(UTC).isoformat(), "environment": environment, "packages": dict(packages)}


@pytest.fixture(autouse=True)
def own_precision() -> Iterator[None]:
    """Accelerate keeps that of the first in a process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> int:
    """As many as there are GPUs; those that a test launches see all of them."""
    if GPUS and VISIBLE is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    elif GPUS:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", VISIBLE)
    return GPUS or 2
