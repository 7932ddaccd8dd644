"""QLoRA on a CPU (bitsandbytes is in this environment): a base in 4 bits stays as it was, and the adapter works."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import modules
from peft import AutoPeftModelForCausalLM, LoraConfig
from peft.tuners.lora import LoraLayer
from transformers import BitsAndBytesConfig

from tests.support.trainers import config, moved, save_tiny_model, tiny_llama, trainer, weights
from trl_real import REALTrainer
from trl_real.engines.frozen_base import merged_copies


FOUR_BITS = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
PROMPT = torch.tensor([[5, 9, 12, 20]])


@pytest.fixture(scope="module", autouse=True)
def layout_of_gpus() -> Iterator[None]:
    """Without the layout that bitsandbytes converts weights to, with rounded scales, on CPUs that have AVX512-BF16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules, "has_avx512bf16", lambda: False)
        yield


def base(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a checkpoint would have of the base: its 4 bits and their scales, in the layout of a file."""
    return {name: value.clone() for name, value in model.state_dict().items() if "lora_" not in name}


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model.eval()(input_ids=PROMPT).logits.float()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[REALTrainer, dict[str, torch.Tensor], bool]:
    """A trained adapter, its base before the training, and whether the adapter moved."""
    folder = tmp_path_factory.mktemp("quantized")
    name = save_tiny_model(folder / "model", tiny_llama(hidden_size=64, intermediate_size=128))
    adapter = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    args = config(folder, max_steps=4)
    made = trainer(folder, model=name, args=args, peft_config=adapter, quantization_config=FOUR_BITS)
    before, start = base(made.model), weights(made.model)
    made.train()
    made.save_model()
    return made, before, moved(start, weights(made.model))


def test_the_adapter_is_trained_alone(run: tuple[REALTrainer, dict[str, torch.Tensor], bool]) -> None:
    made, before, adapter_moved = run
    after = base(made.model)
    assert adapter_moved and any(weight.dtype == torch.uint8 for weight in before.values())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_saved_adapter_loads(run: tuple[REALTrainer, dict[str, torch.Tensor], bool], tmp_path: Path) -> None:
    made, *_ = run
    expected = logits(made.model)
    how = dict(dtype=torch.float32)
    loaded = AutoPeftModelForCausalLM.from_pretrained(made.args.output_dir, quantization_config=FOUR_BITS, **how)
    assert torch.allclose(logits(loaded), expected, atol=1e-2)  # TRL has the adapter of a quantised base in bfloat16
    whole = AutoPeftModelForCausalLM.from_pretrained(made.args.output_dir, **how).merge_and_unload()
    assert (logits(whole) - expected).abs().mean() < expected.std()  # off by what 4 bits round away


def test_merged_copies_leave_4_bits_as_they_were(run: tuple[REALTrainer, dict[str, torch.Tensor], bool]) -> None:
    model = run[0].model
    before, expected = base(model), logits(model)
    for layer in [module for module in model.modules() if isinstance(module, LoraLayer)]:
        merged_copies(layer)
    after = base(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(logits(model), expected)
