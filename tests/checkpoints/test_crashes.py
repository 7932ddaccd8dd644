"""Runs that are killed at a named moment go on where they were; `python -m tests.crashes` has 50 of them."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.crashes.doom import Moment
from tests.crashes.run import differences, start
from tests.support.tiny import tiny_model
from tests.support.trainers import moved, weights
from trl_real.checkpoints.folders import ASIDE


# Each run is killed at the first of its moments, resumed, killed at the next, and so on
KILLS: dict[str, tuple[int, list[Moment]]] = {
    "one process": (
        0,
        [
            ("save", f"half of {ASIDE}/checkpoint-2/optimizer.pt"),  # there is none to resume from
            ("save", f"half of {ASIDE}/checkpoint-4/model.safetensors"),
            ("save", f"os.rename {ASIDE}/checkpoint-4"),
            ("save", "os.remove "),  # of the oldest checkpoint's files
            ("final save", "half of model.safetensors"),
        ],
    ),
    "LoRA": (0, [("generation", "forward"), ("save", f"half of {ASIDE}/checkpoint-4/adapter_model.safetensors")]),
    "best checkpoint": (0, [("save", f"open {ASIDE}/checkpoint-2/trainer_state.json"), ("evaluation", 40)]),
    "ZeRO-3": (1, [("save", f"half of {ASIDE}/checkpoint-4/global_step4/zero_pp_rank_1_mp_rank_00_optim_states.pt")]),
    "FSDP2": (0, [("save", f"half of {ASIDE}/checkpoint-4/pytorch_model_fsdp.bin")]),
}


@pytest.mark.parametrize("setup", KILLS)
def test_a_run_that_is_killed_repeatedly_ends_like_an_undisturbed_one(tmp_path: Path, setup: str) -> None:
    if "ZeRO" in setup:
        pytest.importorskip("deepspeed", reason="needs the extra `deepspeed`")
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    rank, moments = KILLS[setup]
    assert not any(start(setup, undisturbed)), (undisturbed / "said.txt").read_text()[-3000:]
    for moment in moments:
        assert -9 in start(setup, folder, moment, rank), moment
    assert not any(start(setup, folder)), (folder / "said.txt").read_text()[-3000:]
    assert differences(folder, undisturbed) == []
    assert not (folder / "run" / ASIDE).exists()
    if setup != "LoRA":
        trained, start_of_it = AutoModelForCausalLM.from_pretrained(folder / "run"), tiny_model()
        assert moved(weights(start_of_it), weights(trained))
