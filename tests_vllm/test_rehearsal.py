"""The check of the rehearsal that needs vLLM, with a sleep that loses the weights."""

import json
from pathlib import Path

from tests_vllm.launching import run


def test_the_rehearsal_finds_vllm_awake_with_the_weights_of_the_trained_model(tmp_path: Path) -> None:
    run(["-m", "trl_real.rehearsal", "vllm_sleep:check", str(tmp_path)], tmp_path, ENGINES_SLEEP="1")
    outcome = json.loads((tmp_path / "outcome.json").read_text("utf-8"))
    assert outcome["verdict"] == "ok", outcome["said"]
    assert outcome["numbers"]["largest"] < 1e-4 < outcome["numbers"]["moved"]
