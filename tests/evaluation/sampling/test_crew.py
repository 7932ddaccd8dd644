"""Processes that share work: what one of them sees. Two of them run in tests/evaluation/test_script.py."""

import os
import socket
from datetime import timedelta

import pytest
import torch.distributed as dist

from trl_real.evaluation.sampling.crew import Crew


def test_alone_a_process_takes_everything_in_order() -> None:
    crew = Crew()
    assert list(crew.take("work", 3)) == [0, 1, 2]
    assert list(crew.take("work", 3)) == []
    assert list(crew.take("other work", 1)) == [0]
    assert crew.count("samples", 2) + crew.count("samples", 3) == 2 + 5
    assert crew.share("names", ["a"]) == ["a"]
    crew.wait_for("the end")


def test_after_joining_nothing_else_sees_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launched = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in (launched | {"ACCELERATE_USE_DEEPSPEED": "true"}).items():
        monkeypatch.setenv(name, str(value))
    crew = Crew.join()
    assert (crew.rank, crew.size, crew.is_first) == (0, 1, True)
    assert not {*launched, "ACCELERATE_USE_DEEPSPEED"} & set(os.environ)
    assert list(crew.take("work", 2)) == [0, 1]


def test_after_joining_a_library_may_open_a_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under torchrun: its agent holds the processes' store, and a `tcp://` group would look for one there, too."""
    agent = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launched = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": agent.port}
    for name, value in (launched | {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "7"}).items():
        monkeypatch.setenv(name, str(value))
    Crew.join()
    assert not [name for name in os.environ if name.startswith("TORCHELASTIC_")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"tcp://127.0.0.1:{port}"
    store, rank, size = next(dist.rendezvous(url, rank=0, world_size=1, timeout=timedelta(seconds=60)))
    store.set("key", "value")
    assert (store.get("key"), rank, size) == (b"value", 0, 1)


def test_without_a_launcher_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert Crew.join().size == 1
