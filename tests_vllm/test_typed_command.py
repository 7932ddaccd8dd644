"""The paper's command, as it is typed: the launcher, the recipe, ZeRO-3, and vLLM with sleep in both processes."""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from tests.support.math_run import write_math_run
from tests_vllm.launching import read_probes, run


LAUNCH = "-m accelerate.commands.launch --multi_gpu --num_machines 1 --num_processes 2 --mixed_precision no".split()
LAUNCH += ["--main_process_port", "0"]  # a free one


def write_run(folder: Path) -> list[str]:
    """Overrides for the model, the data, the lengths, the number of steps and the CPU."""
    words = write_math_run(folder, hidden_size=64)
    words[words.index("--use_vllm") + 1] = "true"
    return [*words, "--vllm_max_model_length", "64", "--max_steps", "8"]


def test_the_command_trains_with_vllm_and_zero3_on_two_processes(tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    words = ["recipes/train.py", "--config", "real_1p5b.yaml", *write_run(tmp_path)]
    run([*LAUNCH, *words], tmp_path, ENGINES_PROBE=str(tmp_path / "probe"), ENGINES_SLEEP="1")

    probes = read_probes(tmp_path)
    # 2 generations of 128 prompts x 8, and before and after them 30 questions x 8 of AIME's stand-in, 32 at a time
    asked = [[len(each["asked"]) for each in probe] for probe in probes]
    assert asked == [[32, 32, 32, 24, 512, 512, 32, 32, 32, 24]] * 2
    assert max(each["gap"] for probe in probes for each in probe) < 1e-4
    for together in zip(*probes, strict=True):
        prompts = [prompt for each in together for prompt in each["answered"]]
        assert prompts == [prompt for prompt in prompts[::8] for _ in range(8)]
    log = json.loads((tmp_path / "out" / "trainer_state.json").read_text("utf-8"))["log_history"]
    mixed = [entry["groups/mixed"] for entry in log if "groups/mixed" in entry]
    assert len(mixed) == 2 and min(mixed) > 0.1
    start, end = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("model", "out"))
    pairs = zip(start.parameters(), end.parameters(), strict=True)
    assert all(torch.isfinite(after).all() and not torch.equal(before, after) for before, after in pairs)
