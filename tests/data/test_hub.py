"""A hub that does not answer costs seconds, and what is in the cache is read without it."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, load_dataset
from huggingface_hub import constants

from trl_real.data import loading
from trl_real.data.loading import hub_answers, load_prompts
from trl_real.evaluation.models import find_model


class NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(404)

    do_GET = do_HEAD

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a hub that refuses, is silent, or has nothing; the client is online."""
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:  # silent until it serves
        if request.param == "empty":
            threading.Thread(target=server.serve_forever, daemon=True).start()
        if request.param == "refusing":
            server.socket.close()
        address = f"http://127.0.0.1:{server.server_port}"
        for module in (constants, datasets.config):
            monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.setattr(loading, "HUB_SECONDS", 60.0 if request.param == "empty" else 0.5)
        hub_answers.cache_clear()
        yield address
        hub_answers.cache_clear()
        if request.param == "empty":
            server.shutdown()


@pytest.mark.parametrize("hub", ["refusing", "silent"], indirect=True)
def test_without_a_hub_what_could_not_be_had_is_named_at_once(hub: str) -> None:
    start = time.monotonic()
    for fields, field in ((loading.TRAIN_FIELDS, "dataset_name"), (loading.EVAL_FIELDS, "eval_dataset_name")):
        message = f"^{field}: no/where is not a local file .*{hub}. does not answer, and the cac"
        with pytest.raises(ValueError, match=message):
            load_prompts("no/where", fields=fields)
    with pytest.raises(ValueError, match=f"^models: there is no folder no/where .*{hub}. does not answer"):
        find_model("no/where")
    assert time.monotonic() - start < 30  # the client by itself asks for 20 s and more, each of the three times
    assert not constants.HF_HUB_OFFLINE and not datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize("hub", ["refusing"], indirect=True)
def test_without_a_hub_a_cached_data_set_is_read(hub: str, tmp_path: Path) -> None:
    Dataset.from_list([{"prompt": "1+1"}]).to_parquet(tmp_path / "rows.parquet")
    load_dataset("parquet", data_files=str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    kept = (tmp_path / "cache" / "parquet").rename(tmp_path / "cache" / "some___where")  # as one of the hub's is
    next(kept.iterdir()).rename(kept / "default")
    [rows] = kept.rglob("*.arrow")
    rows.rename(rows.with_name("where-train.arrow"))
    assert load_prompts("some/where", test_split=None)[0].to_list() == [{"prompt": "1+1"}]


@pytest.mark.parametrize("hub", ["empty"], indirect=True)
def test_where_the_hub_is_forbidden_it_is_not_asked(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="no/where is not a local file .*HF_HUB_OFFLINE is set, and the cache"):
        load_prompts("no/where")
