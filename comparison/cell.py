"""
One training of a comparison: a method, a learning rate and a seed on a task (`tasks.py`), with the real trainers.

In: a cell, as `compare.py` plans it. Out: its record: pass@1 and entropy on held-out prompts, the curve of what the
trainer logged, tokens and seconds. Cells with the same seed have the same model, prompts and sampling seed.
"""

import math
import tempfile
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig, GRPOTrainer

from trl_real.recipe.methods import METHODS

from .tasks import Row, Task, completion_tokens, load_task


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
    "mixed": "groups/mixed",
    "one_class": "frac_reward_zero_std",
}
# Held-out completions that are sampled at once, and logits of one token of them
SCORE_BATCH, SCORE_LOGITS = 2000, 2**23


class Scorer:
    """
    Pass@1 and entropy of a policy on held-out prompts, with the same luck each time.

    Args:
        task ([`Task`]):
            What is right, and where completions are cut.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Pads on the left.
        temperature (`float`):
            Of sampling, and of the entropy.
    """

    def __init__(self, task: Task, tokenizer: PreTrainedTokenizerBase, temperature: float):
        self.task, self.tokenizer, self.temperature = task, tokenizer, temperature

    @torch.no_grad()
    def __call__(self, model: PreTrainedModel, rows: list[Row], samples: int) -> tuple[float, float]:
        """Share of right ones among so many samples of each prompt, and mean entropy per token in nats."""
        model.eval()
        prompts = max(1, min(SCORE_BATCH, SCORE_LOGITS // model.config.vocab_size) // samples)
        right, entropy, tokens = 0.0, 0.0, 0
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for start in range(0, len(rows), prompts):
                batch = [row for row in rows[start : start + prompts] for _ in range(samples)]
                completions, logits = self.sample(model, [row["prompt"] for row in batch[::samples]], samples)
                texts = self.tokenizer.batch_decode(completions, skip_special_tokens=True)
                columns = {name: [row[name] for row in batch] for name in batch[0]}
                right += sum(self.task.right(prompts=columns.pop("prompt"), completions=texts, **columns))
                ends = completions == self.tokenizer.eos_token_id
                counted = ends.cumsum(dim=1) - ends.long() == 0  # up to the first end, and that too
                entropy += (entropies(logits, self.temperature) * counted).sum().item()
                tokens += counted.sum().item()
        return right / len(rows) / samples, entropy / tokens

    def sample(self, model: PreTrainedModel, prompts: list[str], samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Completions (B, C) and logits (B, C, V); a prompt is read once for all of its samples."""
        batch = self.tokenizer(prompts, return_tensors="pt", padding=True)
        mask = batch["attention_mask"]
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        read = model(
            input_ids=batch["input_ids"][:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[:, :-1],
            use_cache=True,
            logits_to_keep=1,
        )
        read.past_key_values.batch_repeat_interleave(samples)
        output = model.generate(
            input_ids=batch["input_ids"].repeat_interleave(samples, dim=0),
            attention_mask=mask.repeat_interleave(samples, dim=0),
            past_key_values=read.past_key_values,
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            max_new_tokens=self.task.completion_tokens,
            return_dict_in_generate=True,
            output_logits=True,
        )
        return output.sequences[:, mask.size(1) :], torch.stack(output.logits, dim=1)


def entropies(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Entropy of each token (B, C)."""
    log_probs = (logits.float() / temperature).log_softmax(-1)
    return -(log_probs.exp() * log_probs).sum(-1)


class Probe(TrainerCallback):
    """Scores the policy on a few held-out prompts during training; the same prompts and luck for every method."""

    def __init__(self, score: Callable[[PreTrainedModel], tuple[float, float]], every: int):
        self.score, self.every = score, every
        self.points: dict[str, list[float]] = {"step": [], "pass": [], "entropy": [], "cpu": []}
        self.start, self.own = 0.0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.start = time.process_time()
        self.add(0, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step % self.every == 0:
            self.add(state.global_step, model)

    def add(self, step: int, model: PreTrainedModel) -> None:
        """Score now; `cpu` are the CPU seconds of the training so far, without those of scoring."""
        before = time.process_time()
        pass_at_1, entropy = self.score(model)
        model.train()
        point = (step, pass_at_1, entropy, before - self.start - self.own)
        self.own += time.process_time() - before
        for name, value in zip(self.points, point, strict=True):
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


def build_config(cell: dict[str, Any], output_dir: str) -> GRPOConfig:
    """The configuration of the trainer, which checks every option."""
    options = dict(cell["options"], learning_rate=cell["learning_rate"], seed=cell["seed"], output_dir=output_dir)
    quiet = dict(report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True)
    return TRAINERS[cell["trainer"]][1](**options, **quiet, max_completion_length=completion_tokens(cell["task"]))


def build_trainer(cell: dict[str, Any], task: Task, output_dir: str) -> GRPOTrainer:
    """The trainer, on just as many prompts as its steps take."""
    args, model = build_config(cell, output_dir), cell["task"]["model"]
    prompts = args.generation_batch_size // args.num_generations
    steps = args.steps_per_generation * args.num_iterations // args.gradient_accumulation_steps
    lora = cell["task"].get("lora")
    trainer = TRAINERS[cell["trainer"]][0](
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=args,
        reward_funcs=task.reward,
        train_dataset=Dataset.from_list(task.draw(cell["seed"], prompts * math.ceil(args.max_steps / steps))),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=LoraConfig(task_type="CAUSAL_LM", **lora) if lora else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def token_counts(log: list[dict[str, float]], args: GRPOConfig, until: float = math.inf) -> dict[str, int]:
    """Completion tokens sampled until a step, and completion tokens that went through a backward."""
    lengths = [record for record in log if "completions/mean_length" in record and "reward" in record]
    lengths = [record for record in lengths if record["step"] <= until]
    sampled = [record["completions/mean_length"] * args.generation_batch_size for record in lengths]
    shares = [record.get("trained/tokens", 1.0) for record in lengths]
    trained = sum(tokens * share for tokens, share in zip(sampled, shares, strict=True)) * args.num_iterations
    return dict(sampled_tokens=round(sum(sampled)), trained_tokens=round(trained))


def run_cell(cell: dict[str, Any]) -> dict[str, Any]:
    """Trains one cell and returns its record."""
    torch.set_num_threads(1)
    disable_progress_bar()
    scoring, task = cell["task"], load_task(cell["task"])
    probed = task.test if scoring.get("probe_test") else task.validation
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = build_trainer(cell, task, output_dir)
        score = Scorer(task, trainer.processing_class, trainer.args.temperature)
        few, once = probed[: scoring["probe_prompts"]], scoring.get("probe_samples", 1)
        probe = Probe(lambda model: score(model, few, once), scoring["probe_steps"])
        trainer.add_callback(probe)
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        validation_pass, _ = score(trainer.model, task.validation, scoring["samples"])
        test_pass, entropy = score(trainer.model, task.test, scoring["samples"])
    log, args = trainer.state.log_history, trainer.args
    norms = [record["grad_norm"] for record in log if "grad_norm" in record]
    numbers = dict(validation=validation_pass, test=test_pass, entropy=entropy, wall_seconds=wall, cpu_seconds=cpu)
    if args.max_grad_norm:
        numbers["clipped_steps"] = sum(norm > args.max_grad_norm for norm in norms) / len(norms)
    named = {name: cell[name] for name in ("method", "learning_rate", "seed", "settings", "base", "commit")}
    rounded = {name: round(value, 4) for name, value in numbers.items()}
    drawn = curves(log, args.max_steps)
    tokens = [token_counts(log, args, step)["sampled_tokens"] for step in probe.points["step"]]
    return named | rounded | token_counts(log, args) | dict(probe=probe.points | dict(tokens=tokens), curve=drawn)
