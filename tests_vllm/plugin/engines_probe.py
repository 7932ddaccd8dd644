"""
Compares vLLM's log-probabilities with the training model's, at every generation of a trainer.

`<ENGINES_PROBE>/<rank>.jsonl` gets a line for each generation: the largest gap between the two, the prompts that were
asked for, those that were answered, and the answers.
"""

import copy
import json
import os
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from peft import get_peft_model


def copy_of_model(generation: Any) -> torch.nn.Module:
    """
    The model in training, in a fresh one of its class: nothing is asked that the trainer, PEFT or DeepSpeed does to a
    forward, and their state stays as it was.
    """
    model, adapted = generation.model, is_peft_model(generation.model)
    base = model.get_base_model() if adapted else model
    fresh = type(base)(copy.deepcopy(base.config)).to(base.device, base.dtype)
    if adapted:
        fresh = get_peft_model(fresh, copy.deepcopy(model.peft_config["default"]))
    with generation._dist.gather_params(list(model.parameters())):
        weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    assert weights.keys() == dict(fresh.named_parameters()).keys()
    fresh.load_state_dict(weights, strict=False)  # there are buffers, too
    return fresh.eval()


@torch.no_grad()
def training_logps(model: torch.nn.Module, rows: list[list[int]], temperature: float) -> torch.Tensor:
    """Log-probabilities (N, T - 1) of the tokens of N rows after their first, all in one forward."""
    longest = max(map(len, rows))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=model.device)
    logits = model(input_ids=padded, attention_mask=mask).logits.float() / temperature
    return logits[:, :-1].log_softmax(-1).gather(-1, padded[:, 1:, None])[..., 0]


def largest_gap(generation: Any, answers: tuple) -> float:
    prompts, completions, said, _ = answers
    rows = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    logps = training_logps(copy_of_model(generation), rows, generation.temperature or 1.0)
    gaps = [
        abs(logps[row, len(prompt) - 1 + position].item() - (tokens[0] if tokens[0] is not None else float("inf")))
        for row, (prompt, ours) in enumerate(zip(prompts, said, strict=True))
        for position, tokens in enumerate(ours)
    ]
    return max(gaps)


def watch() -> None:
    """Wraps `VLLMGeneration.generate` of this process, once."""
    from trl.generation.vllm_generation import VLLMGeneration

    generate = VLLMGeneration.generate
    if hasattr(generate, "__wrapped__"):
        return

    def watched(self: VLLMGeneration, prompts: list[list[int]], *args: Any, **kwargs: Any) -> tuple:
        answers = generate(self, prompts, *args, **kwargs)
        seen = {"gap": largest_gap(self, answers), "asked": prompts, "answered": answers[0]}
        seen["completions"] = answers[1]
        path = Path(os.environ["ENGINES_PROBE"]) / f"{self.accelerator.process_index}.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(seen) + "\n")
        return answers

    watched.__wrapped__ = generate
    VLLMGeneration.generate = watched
