"""How much of a whole training step is update phase, with real generation.

    python benchmarks/step_share.py --longest 512 --vocabulary 200 --rollouts 80 --group 4 --batch 4 --generations 2

GRPOTrainer and REALTrainer train the same model with random weights, first with `generate`, then with the continuous
batching of Transformers. A completion ends where the model draws the end-of-sequence token by chance: about one token
in `vocabulary`, so lengths are geometric, cut at `longest`. Rewards are set from outside: a share of the groups is all
right, a share all wrong, and every other rollout of the rest is right. Seconds are those of the model's `generate` or
`generate_batch`, and of everything else from the first micro-step of a generation to its last optimizer step.

vLLM needs a GPU and is not run here.
"""

import argparse
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import torch
from datasets import Dataset
from fixed_rollouts import MIXES, Setting, about
from measure import Clock, now
from trainers import build_trainer
from transformers import HfArgumentParser


@dataclass(frozen=True)
class Program:
    """What to run besides the setting."""

    mix: str = about(f"Shares of groups all right and all wrong: one of {', '.join(MIXES)}.", "early")
    steps: int = about("Optimizer steps per generation.", 4)


class Generating:
    """Times a generating function of the model."""

    def __init__(self, model: torch.nn.Module, name: str):
        self.seconds: list[float] = []
        self.function = getattr(model, name)
        setattr(model, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = now()
        output = self.function(*args, **kwargs)
        self.seconds.append(now() - start)
        return output


class Rewards:
    """Rewards by the kind of the prompt, and the lengths of the completions."""

    __name__ = "rewards"

    def __init__(self):
        self.lengths: list[float] = []

    def __call__(self, prompts: list[str], completion_ids: list[list[int]], kind: list[str], **others: Any) -> list:
        self.lengths.append(mean(len(ids) for ids in completion_ids))
        return [float(one == "right" or (one == "mixed" and row % 2 == 0)) for row, one in enumerate(kind)]


def dataset(mix: str, setting: Setting) -> Dataset:
    """One prompt for each group, of the kinds that the mix wants."""
    groups = setting.rollouts // setting.group
    right, wrong = (round(share * groups) for share in MIXES[mix])
    kinds = ["right"] * right + ["wrong"] * wrong + ["mixed"] * (groups - right - wrong)
    prompts = [" ".join(f"w{(7 * index + k) % 50}" for k in range(setting.prompt)) for index in range(groups)]
    return Dataset.from_dict({"prompt": prompts, "kind": kinds})


def run(method: str, continuous: bool, program: Program, setting: Setting) -> dict[str, float]:
    """Medians over the generations after the first."""
    pages = setting.rollouts * -(-(setting.prompt + setting.longest) // 32)
    fields = {
        "max_completion_length": setting.longest,
        "max_steps": program.steps * (setting.generations + 1),
        "use_transformers_continuous_batching": continuous,
        # Left alone, the cache takes half of the free memory, and on a CPU every step reads all of it
        "transformers_continuous_batching_config": {"page_size": 32, "num_blocks": pages, "max_batch_tokens": 512},
    }
    rewards = Rewards()
    prompts = dataset(program.mix, setting)
    trainer = build_trainer(method, setting, program.steps, prompts, fields, reward_funcs=rewards)
    generating = Generating(trainer.model, "generate_batch" if continuous else "generate")
    clock = Clock(program.steps)
    trainer.add_callback(clock)
    trainer.train()
    update = [whole - part for whole, part in zip(clock.seconds, generating.seconds, strict=True)]
    return {
        "generation": median(generating.seconds[1:]),
        "update": median(update[1:]),
        "share": median(part / whole for part, whole in zip(update[1:], clock.seconds[1:], strict=True)),
        "length": mean(rewards.lengths[1:]),
    }


def main() -> None:
    """Read the command line, run, print the table."""
    program, setting = HfArgumentParser(
        (Program, Setting), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args_into_dataclasses()
    print("| trainer | generated with | mean length | generation s | update phase s | share of the update phase |")
    print("| --- | --- | --- | --- | --- | --- |")
    for continuous in (False, True):
        for method in ("GRPO", "REAL"):
            numbers = run(method, continuous, program, setting)
            engine = "continuous batching" if continuous else "generate"
            seconds = f"{numbers['generation']:.2f} | {numbers['update']:.2f}"
            print(
                f"| {method} | {engine} | {numbers['length']:.0f} | {seconds} | {numbers['share']:.0%} |", flush=True
            )


if __name__ == "__main__":
    main()
