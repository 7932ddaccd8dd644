"""
One training of a comparison: a method, a learning rate and a seed on a chain task, with the real trainers.

In: a cell, as `compare.py` plans it. Out: its record: pass@1 and entropy on held-out prompts, the curve of what the
trainer logged, tokens and seconds. Cells with the same seed have the same model, prompts and sampling seed.
"""

import hashlib
import math
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig, GRPOTrainer

from trl_real.recipe.methods import METHODS

from . import chain


class WholeGroupsTrainer(GRPOTrainer):
    """GRPOTrainer without its shuffling of single rollouts over the optimizer steps of a generation, as in REAL."""

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        with patch("trl.trainer.grpo_trainer.shuffle_sequence_dict", lambda batch: batch):
            return super()._prepare_inputs(generation_batch)


TRAINERS = METHODS | {"grpo_whole_groups": (WholeGroupsTrainer, GRPOConfig)}
POINTS = 30  # of a curve, so that the records of a whole comparison stay small
# What is kept of the trainer's log
CURVES = {
    "reward": "reward",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "clip": "clip_ratio/region_mean",
    "abs_score": "scores/abs_mean",
    "positive_score": "scores/positive_mean",
    "negative_score": "scores/negative_mean",
    "kl_old": "kl_old",
    "kl": "kl",
    "trained_kl": "kl_limit/kl",
    "mixed": "groups/mixed",
    "one_class": "frac_reward_zero_std",
}
SCORE_BATCH = 2000  # held-out completions that are sampled at once


def held_out(task: dict[str, Any]) -> tuple[list[dict], list[dict]]:
    """Validation and test prompts, which no training draws."""
    number = task["validation_prompts"] + task["test_prompts"]
    rows = chain.draw_prompts(task["length"], number, seed="held out")
    return rows[: task["validation_prompts"]], rows[task["validation_prompts"] :]


@torch.no_grad()
def sample_and_score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    samples: int,
    temperature: float,
    most_tokens: int,
) -> tuple[float, float]:
    """Pass@1, and mean entropy per token (nats, at this temperature), of sampled completions; same luck each time."""
    rows = [row for row in rows for _ in range(samples)]
    model.eval()
    right, entropy, tokens = 0.0, 0.0, 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for start in range(0, len(rows), SCORE_BATCH):
            batch = rows[start : start + SCORE_BATCH]
            prompts = tokenizer([row["prompt"] for row in batch], return_tensors="pt", padding=True)
            output = model.generate(
                input_ids=prompts["input_ids"],
                attention_mask=prompts["attention_mask"],
                do_sample=True,
                temperature=temperature,
                top_k=0,
                max_new_tokens=most_tokens,
                return_dict_in_generate=True,
                output_logits=True,
            )
            completions = output.sequences[:, prompts["input_ids"].size(1) :]
            texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
            right += sum(chain.last_digit_reward(texts, [row["answer"] for row in batch]))
            log_probs = (torch.stack(output.logits, dim=1).float() / temperature).log_softmax(-1)
            ends = completions == tokenizer.eos_token_id
            counted = ends.cumsum(dim=1) - ends.long() == 0  # up to the first end, and that too
            entropy += (-(log_probs.exp() * log_probs).sum(-1) * counted).sum().item()
            tokens += counted.sum().item()
    return right / len(rows), entropy / tokens


class Probe(TrainerCallback):
    """Scores the policy on a few held-out prompts during training; the same prompts and luck for every method."""

    def __init__(self, score: Any, every: int):
        self.score, self.every = score, every
        self.points: dict[str, list[float]] = {"step": [], "pass": [], "entropy": []}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.add(0, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step % self.every == 0:
            self.add(state.global_step, model)

    def add(self, step: int, model: PreTrainedModel) -> None:
        """Score now."""
        pass_at_1, entropy = self.score(model)
        model.train()
        for name, value in zip(self.points, (step, pass_at_1, entropy), strict=True):
            self.points[name].append(round(value, 4))


def curves(log: list[dict[str, float]], steps: int) -> dict[str, list[float | None]]:
    """The trainer's log as means over at most `POINTS` stretches of steps; `None` where nothing was logged."""
    stretches = min(POINTS, steps)
    found: dict[str, list[float | None]] = {}
    for name, key in CURVES.items():
        values: list[list[float]] = [[] for _ in range(stretches)]
        for record in log:
            if record.get(key) is not None and "step" in record:
                values[(record["step"] - 1) * stretches // steps].append(record[key])
        if any(values):
            found[name] = [float(f"{sum(each) / len(each):.4g}") if each else None for each in values]
    return found


def noisy(reward: Any, share: float) -> Any:
    """A verifier that errs on this share of completions, always on the same ones."""

    def noisy_reward(prompts: list[str], completions: list[str], answer: list[str], **kwargs: Any) -> list[float]:
        flips = (
            int(hashlib.sha256(f"{prompt}{text}".encode()).hexdigest()[:8], 16) < share * 2**32
            for prompt, text in zip(prompts, completions, strict=True)
        )
        return [1.0 - value if flip else value for value, flip in zip(reward(completions, answer), flips, strict=True)]

    return noisy_reward


def build_config(cell: dict[str, Any], output_dir: str) -> GRPOConfig:
    """The configuration of the trainer, which checks every option."""
    options = dict(cell["options"], learning_rate=cell["learning_rate"], seed=cell["seed"], output_dir=output_dir)
    quiet = dict(report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True)
    return TRAINERS[cell["trainer"]][1](**options, **quiet, max_completion_length=cell["task"]["length"] + 3)


def build_trainer(cell: dict[str, Any], output_dir: str) -> GRPOTrainer:
    """The trainer, on just as many prompts as its steps take."""
    args, task = build_config(cell, output_dir), cell["task"]
    prompts = args.generation_batch_size // args.num_generations
    steps = args.steps_per_generation * args.num_iterations // args.gradient_accumulation_steps
    without = {row["prompt"] for rows in held_out(task) for row in rows}
    number = prompts * math.ceil(args.max_steps / steps)
    rows = chain.draw_prompts(task["length"], number, f"train {cell['seed']}", without)
    share = task["reward_noise"]
    trainer = TRAINERS[cell["trainer"]][0](
        model=AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32),
        args=args,
        reward_funcs=noisy(chain.last_digit_reward, share) if share else chain.last_digit_reward,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(task["model"]),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def token_counts(log: list[dict[str, float]], args: GRPOConfig) -> dict[str, int]:
    """Completion tokens sampled, and completion tokens that went through a backward."""
    lengths = [record for record in log if "completions/mean_length" in record and "reward" in record]
    sampled = [record["completions/mean_length"] * args.generation_batch_size for record in lengths]
    shares = [record.get("trained/tokens", 1.0) for record in lengths]
    trained = sum(tokens * share for tokens, share in zip(sampled, shares, strict=True)) * args.num_iterations
    return dict(sampled_tokens=round(sum(sampled)), trained_tokens=round(trained))


def run_cell(cell: dict[str, Any]) -> dict[str, Any]:
    """Trains one cell and returns its record."""
    torch.set_num_threads(1)
    disable_progress_bar()
    task = cell["task"]
    validation, test = held_out(task)
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = build_trainer(cell, output_dir)
        sampling = dict(temperature=trainer.args.temperature, most_tokens=task["length"] + 3)

        def score(rows: list[dict], samples: int, model: PreTrainedModel | None = None) -> tuple[float, float]:
            return sample_and_score(model or trainer.model, trainer.processing_class, rows, samples, **sampling)

        probe = Probe(lambda model: score(validation[: task["probe_prompts"]], 1, model), task["probe_steps"])
        trainer.add_callback(probe)
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        validation_pass, _ = score(validation, task["samples"])
        test_pass, entropy = score(test, task["samples"])
    log, args = trainer.state.log_history, trainer.args
    norms = [record["grad_norm"] for record in log if "grad_norm" in record]
    numbers = dict(validation=validation_pass, test=test_pass, entropy=entropy, wall_seconds=wall, cpu_seconds=cpu)
    if args.max_grad_norm:
        numbers["clipped_steps"] = sum(norm > args.max_grad_norm for norm in norms) / len(norms)
    named = {name: cell[name] for name in ("method", "learning_rate", "seed", "settings", "base", "commit")}
    rounded = {name: round(value, 4) for name, value in numbers.items()}
    drawn = curves(log, args.max_steps)
    return named | rounded | token_counts(log, args) | dict(probe=probe.points, curve=drawn)


def base_digest(folder: Path) -> str:
    """The weights of a base model in twelve characters."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]
