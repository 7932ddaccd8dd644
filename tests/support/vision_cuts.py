"""Trains fixed rollouts with images under a given batch cut. `main`: the same on the processes of a launcher."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image

from tests.support.fsdp import Sharded, use_fsdp
from tests.support.tiny import fixed_completion, fixed_reward
from tests.support.trainers import GROUP, config, trainer, weights
from tests.support.vision_models import tiny_llava, tiny_qwen_vl


MODELS = {"qwen": tiny_qwen_vl, "llava": tiny_llava}


def picture(seed: int) -> Image.Image:
    """Noise, of a size that depends on the seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (16 + 8 * (seed % 3), 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def questions(images_per_prompt: list[int]) -> Dataset:
    rows = []
    for index, count in enumerate(images_per_prompt):
        prompt = [{"role": "user", "content": f"w{index} w{index + 1}"}]
        rows.append({"prompt": prompt, "images": [picture(10 * index + k) for k in range(count)]})
    return Dataset.from_list(rows)


def text_of(prompt: list[dict[str, Any]]) -> str:
    content = prompt[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def rollout_func(prompts: list[Any], trainer: Any) -> dict[str, Any]:
    """The fixed completions of every prompt, whichever process asks."""
    blocks = [[{"role": "user", "content": [{"type": "text", "text": text_of(p)}]}] for p in prompts]
    tokenized = trainer.processing_class.apply_chat_template(
        [p if isinstance(p[-1]["content"], list) else block for p, block in zip(prompts, blocks, strict=True)],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    completions = [fixed_completion(text_of(p), index % GROUP, longest=6) for index, p in enumerate(prompts)]
    logprobs = [[0.0] * len(ids) for ids in completions]
    return {"prompt_ids": tokenized["input_ids"], "completion_ids": completions, "logprobs": logprobs}


def reward(prompts: list[Any], completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
    return fixed_reward([text_of(prompt) for prompt in prompts], completion_ids)


def train(folder: Path, kind: str, counts: list[int], batch: int, **options: Any) -> dict[str, torch.Tensor]:
    """Parameters after four optimizer steps of 8 rollouts, two per generation."""
    model, processor = MODELS[kind]()
    accumulation = 8 // (batch * int(os.environ.get("WORLD_SIZE", "1")))
    args = config(
        folder / f"batch{batch}",
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=2 * accumulation,
        shuffle_dataset=False,
        **dict(max_steps=4, learning_rate=1e-3) | options,
    )
    arguments = dict(model=model, processing_class=processor, train_dataset=questions(counts), args=args)
    trainer(folder, **arguments, reward_funcs=reward, rollout_func=rollout_func).train()
    return weights(model)


def decide_on_one_process(target: Path) -> None:
    """Under FSDP2, where only the second process has images; each process saves how it lays forwards out."""
    use_fsdp()
    model, processor = tiny_qwen_vl()
    options = dict(per_device_train_batch_size=8, gradient_accumulation_steps=1, steps_per_generation=1, max_steps=1)
    # TRL's logging would hang; without a mixed group nothing is run but what decides, and rows without images
    args = config(target, shuffle_dataset=False, log_multimodal=False, **options)
    arguments = dict(model=model, processing_class=processor, train_dataset=questions([0, 0, 0, 2]), args=args)
    run = trainer(target, Sharded, **arguments, reward_funcs=all_incorrect, rollout_func=rollout_func)
    run.train()
    target.mkdir(exist_ok=True)
    (target / os.environ["RANK"]).write_text(f"{run._phase.choice.packs}: {run._phase.choice.why_padded}", "utf-8")


def all_incorrect(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    return [0.0] * len(completion_ids)


def main(target: Path, cut: dict[str, Any]) -> None:
    """The main process saves the parameters."""
    result = train(target.parent, **cut)
    if os.environ.get("RANK", "0") == "0":
        torch.save(result, target)
