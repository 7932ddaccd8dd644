"""What vLLM is sent of a model with an adapter: merged weights, and the frozen base stays bit by bit as it was."""

import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from trl.distributed import DistributedBackend
from trl.generation.vllm_generation import VLLMGeneration

from docs.tools.measured import read_rows
from tests.support.scripts import ROOT
from tests.support.tiny import tiny_model
from tests.support.trainers import weights
from tests.zoo.adapters import adapter
from trl_real.engines.frozen_base import keep_base_exact


NAMES = ["LORA", "LORA, use_dora", "LORA, modules_to_save", "IA3", "LOHA", "OFT", "VERA", "LN_TUNING"]
ADAPTERS = {name: partial(adapter, name) for name in NAMES} | {
    "bias": partial(LoraConfig, r=4, lora_alpha=16, target_modules=["q_proj"], lora_bias=True),
    "embeddings": partial(LoraConfig, r=4, lora_alpha=16, target_modules=["embed_tokens", "lm_head"]),
}


def adapted_model(name: str, dtype: torch.dtype = torch.bfloat16) -> PeftModel:
    """A base in bfloat16 under an adapter, in float32 as PEFT makes it, that does something."""
    model = get_peft_model(tiny_model().to(dtype), ADAPTERS[name]())
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


class Sent(dict):
    """In place of vLLM: what it was sent last, by name."""

    def load_weights(self, named: list[tuple[str, torch.Tensor]]) -> None:
        self.update((name, tensor.clone()) for name, tensor in named)


def link(model: PeftModel, sent: Sent) -> VLLMGeneration:
    """TRL's link to vLLM, without a vLLM at its other end."""
    generation = VLLMGeneration.__new__(VLLMGeneration)
    runner = SimpleNamespace(model=sent)
    engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner)))
    generation.llm = SimpleNamespace(llm_engine=engine, reset_prefix_cache=lambda: None)
    generation.model, generation.accelerator = model, Accelerator(cpu=True)
    generation._dist = DistributedBackend(generation.accelerator)
    generation.mode, generation.enable_sleep_mode = "colocate", False
    return generation


@pytest.mark.parametrize("name", ADAPTERS)
def test_vllm_is_sent_merged_copies_and_the_base_never_changes(name: str) -> None:
    model, sent = adapted_model(name), Sent()
    before, names = weights(model, trainable=False), [name for name, _ in model.named_parameters()]
    generation = link(model, sent)
    keep_base_exact(generation)
    for _ in range(100):
        generation.sync_weights()

    after = dict(model.named_parameters())
    assert list(after) == names
    assert all(torch.equal(before[name], after[name]) for name in before)
    merged = model.merge_and_unload().state_dict()
    assert sent.keys() == merged.keys()
    assert all(torch.equal(sent[name], merged[name]) for name in merged)


def test_trl_alone_sends_the_same_under_the_same_names_and_changes_the_base() -> None:
    ours, theirs = Sent(), Sent()
    model = adapted_model("LORA")
    generation = link(model, ours)
    keep_base_exact(generation)
    generation.sync_weights()
    before = weights(model, trainable=False)
    link(model, theirs).sync_weights()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    after = weights(model, trainable=False)
    # When this fails, TRL keeps the base itself: then `trl_real/engines/frozen_base.py` can go
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_reproduction_in_the_documentation_shows_the_drift(capsys: pytest.CaptureFixture) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "frozen-base.md").read_text("utf-8"), re.DOTALL)
    exec(code, {})
    shares = [float(share) for share in re.findall(r"(\d+\.\d)%", capsys.readouterr().out)]
    recorded = [float(row["changed"].rstrip("%")) for row in read_rows("frozen_base", [])]
    assert shares == pytest.approx(recorded, abs=1.0)  # another CPU may round otherwise


def test_a_vllm_that_fails_leaves_the_base_as_it_was() -> None:
    model, sent = adapted_model("LORA"), Sent()
    generation, before = link(model, sent), weights(model, trainable=False)
    keep_base_exact(generation)

    def refuse(named: list[tuple[str, Any]]) -> None:
        if "up_proj" in named[0][0]:
            raise RuntimeError("no such layer")

    sent.load_weights = refuse
    with pytest.raises(RuntimeError, match="no such layer"):
        generation.sync_weights()
    after = weights(model, trainable=False)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_learned_prompts_cannot_be_sent() -> None:
    model = get_peft_model(tiny_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    generation = link(model, Sent())
    keep_base_exact(generation)
    with pytest.raises(ValueError, match="`use_vllm`: the adapter is learned prompts.*Write use_vllm=False"):
        generation.sync_weights()
