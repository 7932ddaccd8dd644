"""Cost of the update phase: GRPOTrainer and REALTrainer on the same rollouts, side by side in one run.

    python benchmarks/update_phase.py                    # CPU defaults, under five minutes
    python benchmarks/update_phase.py --scaling          # how the cost grows
    python benchmarks/update_phase.py --mixes late --rollouts 512 --longest 512

The rollouts are fixed (a share of groups all right, a share all wrong, the rest mixed; lengths log-normal or all at
the cap) and handed to both trainers through `rollout_func`, so that nothing is generated. The trainers take turns;
each reports the median over generations, after one to warm up, of the seconds from rollouts to the last optimizer
step.

`limit` is the same model on the informative tokens alone, one rollout at a time and without padding: a forward and
backward of every rollout with a gradient, and the forward without gradient that old log-probabilities need in all but
the first optimizer step. No trainer, no loss, no optimizer. It can be beaten where one rollout is too little work to
keep the device busy.
"""

import argparse
import gc
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from trl_real import REALConfig, REALTrainer


MIXES = {"late": (0.60, 0.10), "early": (0.22, 0.25), "worst": (0.0, 0.0)}  # shares of groups all right, all wrong
VOCABULARY = 2048


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per word; only its special tokens matter here."""
    words = {word: index for index, word in enumerate(["<pad>", "<eos>", *(f"w{i}" for i in range(VOCABULARY - 2))])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def build_model(options: argparse.Namespace) -> Qwen2ForCausalLM:
    """A Qwen2 of the wanted size with random weights."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        intermediate_size=3 * options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 32,
        num_key_value_heads=max(options.hidden // 64, 1),
        max_position_embeddings=4096,
    )
    return Qwen2ForCausalLM(config)


class Rollouts:
    """Fixed rollouts: lengths and rewards of P × G completions, and prompts of a few tokens."""

    def __init__(self, shares: tuple[float, float], options: argparse.Namespace, equal_lengths: bool = False):
        generator = torch.Generator().manual_seed(1)
        groups, size = options.rollouts // options.group, options.group
        right, wrong = (round(share * groups) for share in shares)
        rewards = torch.zeros(groups, size)
        rewards[:right] = 1.0
        for group in range(right + wrong, groups):
            positives = int(torch.randint(1, size, (1,), generator=generator))
            rewards[group, torch.randperm(size, generator=generator)[:positives]] = 1.0
        rewards = rewards[torch.randperm(groups, generator=generator)]
        self.rewards = rewards.flatten().tolist()
        mixed = (rewards.mean(dim=1) > 0) & (rewards.mean(dim=1) < 1)
        self.informative = mixed.repeat_interleave(size).nonzero().flatten().tolist()
        if equal_lengths:
            self.lengths = [options.longest] * len(self.rewards)
        else:  # mean near 0.4 of the cap
            spread = torch.randn(len(self.rewards), generator=generator) * 0.6 + torch.tensor(0.33).log()
            self.lengths = (spread.exp() * options.longest).clamp(8, options.longest).long().tolist()
        self.prompt_length = options.prompt
        self.ids = torch.randint(2, VOCABULARY, (len(self.rewards), options.longest), generator=generator).tolist()

    def rollout_func(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        first = trainer.accelerator.process_index * len(prompts)
        rows = range(first, first + len(prompts))
        return {
            "prompt_ids": [list(range(2, 2 + self.prompt_length)) for _ in prompts],
            "completion_ids": [self.ids[row][: self.lengths[row]] for row in rows],
            "logprobs": [[0.0] * self.lengths[row] for row in rows],
            "row": list(rows),
        }

    def reward(self, prompts: list[str], row: list[int], **kwargs: Any) -> list[float]:
        return [self.rewards[index] for index in row]


class Clock(TrainerCallback):
    """Seconds of every generation: from its first micro-step to the end of its last optimizer step."""

    def __init__(self, steps: int):
        self.steps, self.seconds, self.start = steps, [], 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps == 0:
            self.start = now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps == 0:
            self.seconds.append(now() - self.start)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class TokenCounter:
    """Tokens that the model computes, with and without gradient, padding included."""

    def __init__(self, model: torch.nn.Module):
        self.grad = self.no_grad = 0
        self.handle = model.model.register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        tokens = kwargs["input_ids"].numel()
        if torch.is_grad_enabled():
            self.grad += tokens
        else:
            self.no_grad += tokens


class PeakMemory:
    """Gigabytes above the start: of the GPU where there is one, else of this process, sampled."""

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated()
            return self
        self.process = psutil.Process()
        self.start = self.peak = self.process.memory_info().rss
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()
        return self

    def sample(self) -> None:
        while not self.done.wait(0.005):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def __exit__(self, *error: Any) -> None:
        if torch.cuda.is_available():
            self.peak = torch.cuda.max_memory_allocated()
        else:
            self.done.set()
            self.thread.join()
        self.gigabytes = (self.peak - self.start) / 2**30


def build_trainer(
    method: str, model: Any, rollouts: Rollouts, options: argparse.Namespace, steps: int, folder: str
) -> Any:
    """GRPOTrainer or REALTrainer with the same settings."""
    trainer_class, config_class = (REALTrainer, REALConfig) if method == "REAL" else (GRPOTrainer, GRPOConfig)
    per_generation = options.rollouts // options.batch
    return trainer_class(
        model=model,
        reward_funcs=rollouts.reward,
        args=config_class(
            output_dir=folder,
            per_device_train_batch_size=options.batch,
            gradient_accumulation_steps=per_generation // steps,
            steps_per_generation=per_generation,
            num_generations=options.group,
            max_steps=steps * (options.generations + 1),
            gradient_checkpointing=options.gradient_checkpointing,
            bf16=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            **({"loss_type": "grpo"} if method == "GRPO" else {}),
        ),
        train_dataset=Dataset.from_dict({"prompt": ["w1"] * (options.rollouts // options.group)}),
        processing_class=tokenizer(),
        rollout_func=rollouts.rollout_func,
    )


def run_trainer(method: str, rollouts: Rollouts, options: argparse.Namespace, steps: int) -> dict[str, float]:
    """Train a few generations; median seconds, tokens per generation, and peak memory."""
    model = build_model(options)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(method, model, rollouts, options, steps, folder)
        trainer.remove_callback(PrinterCallback)
        clock, tokens = Clock(steps), TokenCounter(model)
        trainer.add_callback(clock)
        with PeakMemory() as memory:
            trainer.train()
    generations = options.generations + 1
    return {
        "seconds": statistics.median(clock.seconds[1:]),
        "grad_tokens": tokens.grad / generations,
        "no_grad_tokens": tokens.no_grad / generations,
        "gigabytes": memory.gigabytes,
    }


def run_limit(rollouts: Rollouts, options: argparse.Namespace, steps: int) -> dict[str, float]:
    """The informative tokens alone, rollout by rollout."""
    model = build_model(options)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    if torch.cuda.is_available():
        model = model.cuda()
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    rows = sorted(rollouts.informative)
    later = [row for row in rows if row >= options.rollouts // steps]
    tokens = 0

    def forward(row: int) -> torch.Tensor:
        nonlocal tokens
        ids = list(range(2, 2 + rollouts.prompt_length)) + rollouts.ids[row][: rollouts.lengths[row]]
        tokens += len(ids)
        input_ids = torch.tensor([ids], device=model.device)
        labels = input_ids.clone()
        labels[:, : rollouts.prompt_length] = -100
        with torch.autocast(model.device.type, torch.bfloat16, enabled=torch.cuda.is_available()):
            output = model(
                input_ids=input_ids, attention_mask=torch.ones_like(input_ids), labels=labels, fused_lm_head=True
            )
        return output.log_probs.mean()

    seconds = []
    for _ in range(options.generations + 1):
        start = now()
        with torch.no_grad():
            for row in later:
                forward(row)
        for row in rows:
            forward(row).backward()
        model.zero_grad()
        seconds.append(now() - start)
    return {"seconds": statistics.median(seconds[1:]), "tokens": tokens / (options.generations + 1)}


def compare(name: str, rollouts: Rollouts, options: argparse.Namespace, steps: int) -> dict[str, Any]:
    """One row of the table: both trainers and the limit."""
    grpo, real = (run_trainer(method, rollouts, options, steps) for method in ("GRPO", "REAL"))
    limit = run_limit(rollouts, options, steps)
    print(
        f"{name:<20}{steps:>6}{grpo['seconds']:>9.2f}{real['seconds']:>9.2f}{real['seconds'] / grpo['seconds']:>8.2f}"
        f"{real['seconds'] / limit['seconds']:>9.2f}{grpo['gigabytes']:>9.2f}{real['gigabytes']:>9.2f}   "
        + " / ".join(f"{run['grad_tokens']:.0f}+{run['no_grad_tokens']:.0f}" for run in (grpo, real))
        + f" / {limit['tokens']:.0f}",
        flush=True,
    )
    return {"case": name, "steps": steps, "GRPO": grpo, "REAL": real, "limit": limit}


def cases(options: argparse.Namespace) -> Iterator[tuple[str, Rollouts, argparse.Namespace, int]]:
    """The mixes on 4 and on 1 optimizer steps per generation; or what happens when one number grows."""
    if not options.scaling:
        for mix in options.mixes:
            for steps in (4, 1):
                yield mix, Rollouts(MIXES[mix], options, mix == "worst"), options, steps
        return
    for factor in (0.5, 1, 2):
        scaled = argparse.Namespace(**vars(options) | {"rollouts": int(options.rollouts * factor)})
        yield f"{scaled.rollouts} rollouts", Rollouts(MIXES["early"], scaled), scaled, 4
    for factor in (0.5, 1, 2):
        scaled = argparse.Namespace(**vars(options) | {"longest": int(options.longest * factor)})
        yield f"up to {scaled.longest} tokens", Rollouts(MIXES["early"], scaled), scaled, 4
    for mixed in (0.125, 0.5, 1.0):
        yield f"{mixed:.1%} mixed", Rollouts((1 - mixed, 0.0), options), options, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixes", nargs="+", choices=MIXES, default=list(MIXES))
    parser.add_argument(
        "--scaling", action="store_true", help="grow rollouts, length and share of mixed groups instead"
    )
    parser.add_argument("--rollouts", type=int, default=128, help="rollouts per generation")
    parser.add_argument("--group", type=int, default=8, help="rollouts per prompt")
    parser.add_argument("--batch", type=int, default=8, help="rollouts per micro-step")
    parser.add_argument("--longest", type=int, default=128, help="completion cap in tokens")
    parser.add_argument("--prompt", type=int, default=16, help="prompt length in tokens")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--generations", type=int, default=3, help="timed generations, after one to warm up")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--output", type=Path, help="write the numbers as JSON")
    options = parser.parse_args()
    print(
        f"{'':<20}{'steps':>6}{'GRPO s':>9}{'REAL s':>9}{'ratio':>8}{'x limit':>9}{'GRPO GB':>9}{'REAL GB':>9}   ",
        end="",
    )
    print("tokens per generation (with+without gradient): GRPO / REAL / limit")
    results = [compare(*case) for case in cases(options)]
    if options.output:
        options.output.write_text(json.dumps({"options": vars(options), "results": results}, indent=1, default=str))


if __name__ == "__main__":
    main()
