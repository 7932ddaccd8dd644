"""A vLLM that samples in another precision, or gives log-probabilities at another temperature, is said."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl.generation import vllm_client, vllm_generation

from tests.support.trainers import config, trainer
from trl_real import REALTrainer
from trl_real.engines.precision import other_precision


@pytest.mark.parametrize(
    ("sampled", "weights", "options", "said"),
    [
        (torch.bfloat16, torch.float32, {}, "vLLM samples in bfloat16, and the model is trained in float32"),
        (torch.bfloat16, torch.float32, {"fp16": True}, "in bfloat16, and .* trained in float16.* --dtype float16"),
        (torch.bfloat16, torch.float32, {"bf16": True}, None),  # forwards in bfloat16 of weights in float32
        (torch.bfloat16, torch.bfloat16, {}, None),
        (torch.float32, torch.float32, {}, None),
        (torch.bfloat16, torch.float32, {"mode": "server"}, None),  # which has an option of its own
    ],
)
def test_another_precision_is_said(
    sampled: torch.dtype, weights: torch.dtype, options: dict[str, Any], said: str | None
) -> None:
    engine = SimpleNamespace(model_config=SimpleNamespace(dtype=sampled))
    model, mode = SimpleNamespace(dtype=weights), options.pop("mode", "colocate")
    link = SimpleNamespace(mode=mode, llm=SimpleNamespace(llm_engine=engine), model=model)
    found = other_precision(link, SimpleNamespace(**{"bf16": False, "fp16": False} | options))
    assert (found is None) == (said is None)
    assert found is None or re.search(said, found)


@pytest.fixture
def make_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., REALTrainer]]:
    """A trainer with TRL's client of a vLLM server; vLLM need not be installed, weights are never sent."""

    class Answers(BaseHTTPRequestHandler):
        """To what TRL asks before it generates."""

        def do_GET(self) -> None:
            info = {"model_config": {"logprobs_mode": self.server.logprobs_mode}, "weight_transfer_config": {}}
            body = {"vllm_config": info, "data": [{"id": "tiny"}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args: Any) -> None:
            pass

    for module in (vllm_client, vllm_generation):
        monkeypatch.setattr(module, "is_vllm_available", lambda: True)
    monkeypatch.setattr(vllm_client.VLLMClient, "init_communicator", lambda self, device: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def make(logprobs_mode: str, **options: Any) -> REALTrainer:
            server.logprobs_mode = logprobs_mode
            address = f"http://127.0.0.1:{server.server_port}"
            options |= dict(use_vllm=True, vllm_mode="server", vllm_server_base_url=address)
            return trainer(tmp_path, args=config(tmp_path, **options))

        yield make
        server.shutdown()


SAID = "The vLLM server returns `{}`, not log-probabilities at temperature {}"


@pytest.mark.parametrize(("kind", "temperature"), [("raw_logprobs", 0.6), ("raw_logits", 1.0), ("raw_logprobs", 1.5)])
def test_a_server_that_gives_other_log_probabilities_is_said(
    make_trainer: Callable, kind: str, temperature: float, caplog: pytest.LogCaptureFixture
) -> None:
    said = SAID.format(kind, temperature)
    make_trainer(kind, temperature=temperature)
    assert said in caplog.text
    way_out = "vllm serve --logprobs-mode processed_logprobs"
    with pytest.raises(ValueError, match=f"`mismatch_limit`: {said}.*{way_out}.*or omit `mismatch_limit`"):
        make_trainer(kind, temperature=temperature, mismatch_limit=1.1)


@pytest.mark.parametrize(("kind", "temperature"), [("processed_logprobs", 0.6), ("raw_logprobs", 1.0)])
def test_a_server_that_gives_those_of_the_trainer_is_taken(
    make_trainer: Callable, kind: str, temperature: float, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(kind, temperature=temperature, mismatch_limit=1.1)
    assert "log-probabilities at temperature" not in caplog.text
