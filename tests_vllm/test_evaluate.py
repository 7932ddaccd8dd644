"""recipes/evaluate.py with vLLM as it is, without the plugin: it gives the tokens that Transformers gives."""

import re
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.math_run import CHAT
from tests.support.scripts import ROOT
from tests.support.tiny import prompts_dataset
from tests_vllm.launching import run, run_to_end, torchrun
from tests_vllm.train_case import prepare_model
from trl_real.evaluation.sampling.store import find_stores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model/`, `adapter/` on it, 16 questions, and what Transformers makes of them."""
    folder = tmp_path_factory.mktemp("evaluate")
    name = prepare_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(name)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(name)
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(name), LoraConfig(r=4, lora_alpha=16, target_modules="all-linear")
    )
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


def texts(output: Path) -> dict[str, list[tuple[str, int]]]:
    """By model, the answers with their numbers of tokens."""
    return {
        Path(store.model).name: [(sample["text"], sample["tokens"]) for sample in store.samples()]
        for store in find_stores(output)
    }


@pytest.mark.parametrize("processes", [1, 2])
def test_greedy_answers_are_those_of_transformers(folder: Path, tmp_path: Path, processes: int) -> None:
    command = [*torchrun(processes), *words(folder, tmp_path / "vllm", "vllm", "--batch_size", "8")]
    run(command, tmp_path, PYTHONPATH=str(ROOT))
    found = texts(tmp_path / "vllm")
    assert found == texts(folder / "transformers")
    assert found["model"] != found["adapter"]
    assert all(len(set(answers)) > 8 for answers in found.values())


def test_memory_that_is_not_there_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    command = words(folder, tmp_path / "vllm", "vllm", "--limit", "1", "--vllm_gpu_memory_utilization", "1.0")
    # Without a fixed space for its cache, vLLM takes a share of the memory, which must be free
    code, said = run_to_end(command, tmp_path, PYTHONPATH=str(ROOT), VLLM_CPU_KVCACHE_SPACE="")
    assert code == 1
    assert re.search(r"error: backend: vLLM did not start .* write a smaller --vllm_gpu_memory_utilization", said)
