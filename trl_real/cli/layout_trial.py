"""
`trl-real doctor --gpu`: does this machine compute packed rows and shared prompts like padded rows?

It chooses the layout of a training in bfloat16 on random rollouts, and measures how far its log-probabilities are from
those of padded rows. `make test-gpu` checks the rest of a training.
"""

from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedModel
from trl import ModelConfig

from ..compat import add_fused_lm_head
from ..data.loading import hub_or_cache, why_not
from ..step.choice import LayoutChoice
from ..step.forwards import Forwards
from ..step.layouts import pack_rollouts, pad_rollouts, share_prompts
from ..step.rollouts import Rollout
from ..step.settings import StepSettings
from ..step.trial import compare, passes
from .problems import check_architecture, one_line_errors


# Without a named model; the weights are so wide that a row that sees its neighbor is noticed
TINY: dict[str, Any] = dict(vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2)
TINY |= dict(num_attention_heads=2, num_key_value_heads=1, initializer_range=0.3)
PROMPTS, COMPLETIONS = (200, 120), (40, 90, 150)  # tokens; each completion after each prompt


class Trial(NamedTuple):
    device: str
    layout: str  # of a training, in words
    confirmed: bool  # every layout that the model's settings allow is computed correctly
    gaps: dict[str, tuple[float, float]]  # root mean squares, by layout in use: from padded rows, and of rounding


def load(name: str | None, attention: str | None) -> PreTrainedModel:
    """A model with weights in float32, as in training; a tiny one without a name. `ValueError` if it cannot be had."""
    how = {} if attention is None else {"attn_implementation": attention}
    try:
        with hub_or_cache():
            config = LlamaConfig(**TINY) if name is None else AutoConfig.from_pretrained(name)
    except OSError as error:
        raise ValueError(f"model_name_or_path: {name}: {why_not(error)}. Write a folder or a hub id.") from error
    check_architecture(config, ModelConfig(model_name_or_path=name, attn_implementation=attention))
    with hub_or_cache(), one_line_errors("loading the model"):
        if name is not None:
            return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, **how)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, **how)


def random_rollouts(vocabulary: int, device: torch.device) -> list[Rollout]:
    """Several for each of two prompts, all of different lengths."""
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> torch.Tensor:
        return torch.randint(vocabulary, (length,), generator=generator).to(device)

    pairs = [(draw(prompt), [draw(length) for length in COMPLETIONS]) for prompt in PROMPTS]
    return [
        Rollout(row, prompt, ids, torch.ones_like(ids), prompt_key=key)
        for key, (prompt, completions) in enumerate(pairs)
        for row, ids in enumerate(completions, start=key * len(COMPLETIONS))
    ]


def try_layouts(model: Any) -> Trial:
    """Chooses as a training does at its start, and measures the chosen layouts."""
    accelerator = Accelerator(mixed_precision="bf16")
    model.to(accelerator.device).eval()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    rows = random_rollouts(model.config.get_text_config().vocab_size, accelerator.device)
    settings = StepSettings(len(COMPLETIONS), rows_per_process=len(rows), max_completion_length=max(COMPLETIONS))
    choice = LayoutChoice(Forwards(model, None, accelerator), settings)
    may_pack, may_share = choice.packs is None, choice.shared is None
    choice.try_out(rows)
    sharing = choice.among(*zip(*((row.prompt_key, len(row.prompt_ids), row.length) for row in rows), strict=True))
    batches = {"packed rows": pack_rollouts(rows, 0)} if choice.packs else {}
    batches |= {"shared prompts": share_prompts(rows, 0)} if choice.shared else {}
    logps, padded, embedding = choice.forwards.policy_logps, pad_rollouts(rows, 0), model.get_input_embeddings()
    totals = {
        name: compare([logps(batch)], lambda: logps(padded), padded.mask, embedding) for name, batch in batches.items()
    }
    gaps = {name: (each[:2] / each[2]).sqrt().tolist() for name, each in totals.items()}
    found = (choice.packs or not may_pack) and (choice.shared or not may_share)
    return Trial(
        device=torch.cuda.get_device_name() if accelerator.device.type == "cuda" else accelerator.device.type,
        layout=choice.describe(sharing),
        confirmed=bool(found) and all(passes(each[None]) for each in totals.values()),
        gaps={name: (layout, rounding) for name, (layout, rounding) in gaps.items()},
    )
