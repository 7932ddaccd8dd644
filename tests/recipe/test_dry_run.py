"""--dry_run: the plan of a run, without weights and without a GPU."""

import re
from pathlib import Path

import pytest

from tests.support.math_run import write_math_run
from tests.support.scripts import ROOT
from trl_real.cli import train as train_script
from trl_real.recipe.dry_run import describe_batch, describe_memory, memory_verdict
from trl_real.recipe.memory import KNOWN, estimate_memory, model_size, read_config, zero_stage


SMALL, LARGE = KNOWN


def plan(folder: Path, capsys: pytest.CaptureFixture, *words: str, config: str = "real_1p5b") -> tuple[int, str]:
    """Exit status and text; the model folder has no weights."""
    data = write_math_run(folder, questions=1300)
    (folder / "model" / "model.safetensors").unlink()
    with pytest.raises(SystemExit) as end:
        train_script.main(["--config", config, "--dry_run", *data, *words])
    return end.value.code, capsys.readouterr().out


def test_the_plan_has_the_papers_arithmetic_for_8_gpus(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    status, text = plan(tmp_path, capsys, "--world_size", "8")
    assert status == 0
    for line in (
        "generation +128 prompts x 8 rollouts = 1,024 rollouts",
        "optimizer step +32 prompts = 256 rollouts; 4 optimizer steps per generation",
        "micro-step +64 rollouts; 4 per optimizer step .*, 16 per generation",
        r"each process +samples 128 rollouts \(16 prompts\), trains 8 at once",
        r"prompts by process: 0: 0-15, 1: 16-31, \.\.\., 7: 112-127",
        "epoch +1,300 prompts = 10 generations = 40 steps",
        "training +5,600 optimizer steps = 1,400 generations = 1,433,600 rollouts, 140.00 epochs",
        "training peak .* GB, generation peak",
        r"overhead\n  KV cache: \d+.\d GB for 128 rollouts at full length at once, in the generation peak",
        "train +1,300 prompts",
        "eval +30 prompts",
        "ok +options",
        "ok +model",
        "ok +data",
    ):
        assert re.search(line, text), line
    assert not (tmp_path / "out").exists()


def test_all_checks_run_and_the_failed_ones_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--model_name_or_path", "nowhere/at-all", "--reward_funcs", "math_rewrd", "--save_merged"]
    status, text = plan(tmp_path, capsys, *words, "--world_size", "4")
    assert status == 1
    assert "FAILS  options: save_merged: without use_peft" in text
    assert "FAILS  model: model_name_or_path: nowhere/at-all is no model folder" in text
    assert "FAILS  data: reward_funcs: there is no reward function `math_rewrd`" in text
    assert "1,433,600 rollouts" in text


RECIPES = {path.stem for path in (ROOT / "recipes").glob("*.yaml")}


@pytest.mark.parametrize("config", sorted(RECIPES - {"quickstart", "graded", "real_1p5b"}))
def test_other_recipes_are_planned_too(config: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert plan(tmp_path, capsys, config=config)[0] == 0


def test_a_batch_beyond_the_data_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    status, text = plan(tmp_path, capsys, "--prompts_per_generation", "1536", "--prompts_per_step", "384")
    assert status == 1
    assert "FAILS  data: prompts_per_generation: 1536 prompts are sampled at once, but the training " in text
    words = re.search(r"Write (--prompts_per_generation \d+ --prompts_per_step \d+)", text)[1].split()
    assert words[1:] == ["1300", "--prompts_per_step", "325"]
    assert plan(tmp_path, capsys, *words)[0] == 0


def test_lacks_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_script, "missing", lambda options: ["use_vllm: vLLM is not installed."])
    assert "This machine cannot run it. use_vllm: vLLM is not installed." in plan(tmp_path, capsys)[1]
    assert "This machine" not in plan(tmp_path, capsys, "--world_size", "2")[1]


def test_the_papers_models_are_known_without_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert model_size(read_config(SMALL)).parameters == 1_777_088_000
    assert model_size(read_config(LARGE)).parameters == 7_615_616_512
    assert model_size(read_config(SMALL), lora_rank=32).trained == 36_929_536  # PEFT's own count
    with pytest.raises(OSError):
        read_config("nowhere/at-all")


OPTIONS = dict(deepspeed=None, bf16=True, fp16=False, dtype="float32", max_prompt_tokens=1024, use_peft=False)
OPTIONS |= dict(max_completion_length=8192, per_device_train_batch_size=8, gradient_checkpointing=True, beta=0.0)
OPTIONS |= dict(load_in_4bit=False, use_cpu=False)
ZERO3 = dict(zero_optimization=dict(stage=3))


def test_a_plan_that_does_not_fit_a_gpu_fails_with_what_would_help() -> None:
    options = OPTIONS | dict(steps_per_generation=16, gradient_accumulation_steps=4, use_vllm=False, gpu_memory=80.0)
    lines, peak = describe_memory(read_config(LARGE), options, 1)
    verdict = memory_verdict(peak, options, 1)
    assert re.search(r"a GPU needs about \d{3} GB and has 80 .*Use more than 1 GPU, .*ZeRO-3, --use_peft", verdict)
    assert memory_verdict(peak, options | dict(gpu_memory=peak + 1), 1) is None
    assert max(map(float, re.findall(r"(\d+.\d) GB", lines[-2]))) == pytest.approx(peak, abs=0.1)


def test_the_plan_judges_the_memory(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--world_size", "1", "--use_cpu", "false", "--bf16", "false"]
    assert "ok     memory" in plan(tmp_path, capsys, *words)[1]
    status, text = plan(tmp_path, capsys, *words, "--gpu_memory", "0.5")
    assert status == 1 and re.search(r"FAILS  memory: a GPU needs about \d+ GB and has 0.5 \(--gpu_memory\)", text)


def test_memory_follows_the_formulas_of_the_docstring() -> None:
    size = model_size(read_config(SMALL))
    parts = estimate_memory(size, OPTIONS | dict(deepspeed=ZERO3), rollouts=128, world_size=8)
    shared = parts["weights"] + parts["gradients"] + parts["optimizer"]
    assert shared == pytest.approx(18 * size.parameters / 8 + 2 * size.embedding)
    assert parts["kv_cache"] == 2 * 28 * 2 * 256 * 128 * 9216
    assert parts["activations"] == 8 * 9216 * 2 * (28 * 1536 + 8 * 1536 + 2 * 256 + 4 * 8960)
    alone = estimate_memory(size, OPTIONS, rollouts=128, world_size=8)
    assert alone["weights"] + alone["gradients"] + alone["optimizer"] == 16 * size.parameters
    # The inputs of the layers stay in float32 under autocast, and so does part of what is inside of one
    inside = 2 * (8 * 1536 + 2 * 256 + 4 * 8960) + 2 * 6 * 1536
    assert alone["activations"] == 8 * 9216 * (4 * 28 * 1536 + inside)


def test_short_rows_need_the_memory_of_the_head_or_of_autocasts_copies() -> None:
    size = model_size(read_config(SMALL))
    short = OPTIONS | dict(max_prompt_tokens=0, max_completion_length=128, per_device_train_batch_size=1)
    inputs = 128 * 28 * 1536
    assert estimate_memory(size, short, 8, 1)["activations"] == 4 * inputs + 2 * size.parameters
    head = 128 * 12 * 1536 + 4 * 151936 * 1536
    for device, columns in ({}, 4 * 32768), (dict(use_cpu=True), 34 * 32768):
        activations = estimate_memory(size, short | dict(bf16=False) | device, 8, 1)["activations"]
        assert activations == 4 * inputs + 128 * columns + head


def test_the_reference_model_and_lora_are_counted() -> None:
    size = model_size(read_config(SMALL), lora_rank=32)
    lora = OPTIONS | dict(use_peft=True, dtype="bfloat16", beta=0.1)
    parts = estimate_memory(size, lora, rollouts=8, world_size=1)
    assert parts["weights"] == 2 * size.parameters + 4 * size.trained
    assert (parts["gradients"], parts["reference"]) == (4 * size.trained, 0)
    full = estimate_memory(size, OPTIONS | dict(beta=0.1), rollouts=8, world_size=1)
    assert full["reference"] > 0
    assert estimate_memory(size, OPTIONS | dict(beta=0.1, kl_target="old"), 8, 1)["reference"] == 0
    quantized = estimate_memory(size, lora | dict(load_in_4bit=True), rollouts=8, world_size=1)
    assert quantized["weights"] < 0.5 * parts["weights"]


def test_the_stage_is_read_from_a_file_from_json_and_from_a_dictionary() -> None:
    assert zero_stage(str(ROOT / "recipes/accelerate/zero3.json")) == 3
    assert zero_stage('{"zero_optimization": {"stage": 2}}') == 2
    assert (zero_stage(ZERO3), zero_stage(None)) == (3, 0)


def test_trls_own_batch_fields_are_described_too() -> None:
    batch = dict(num_generations=16, per_device_train_batch_size=8, gradient_accumulation_steps=2, num_iterations=2)
    batch |= dict(steps_per_generation=None, generation_batch_size=64, num_train_epochs=3, max_steps=-1)
    text = "\n".join(describe_batch(batch, world_size=2, rows=10))
    assert "4 prompts x 16 rollouts = 64 rollouts" in text
    assert "2 prompts = 32 rollouts; 4 optimizer steps per generation" in text
    assert "prompts by process: 0: 0-1, 1: 2-3" in text
    assert "10 prompts = 2 generations = 8 steps" in text
    assert "24 optimizer steps = 6 generations = 384 rollouts, 3.00 epochs" in text
    assert "unknown without max_steps" in "\n".join(describe_batch(batch, world_size=2, rows=None))
