"""
In every process: trains cells of the table and writes down what `judge.py` compares.

A cell takes the two optimizer steps of one generation, the first on policy, the second off policy with groups that are
spread over micro-steps. Matrices and adapters are larger than a communication bucket, as those of real models are.
"""

import os
import re
import traceback
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, TrainerCallback

from tests.settings.cells import Cell
from tests.support.cuts import trainer_for
from tests.support.fsdp import use_fsdp
from tests.support.tiny import digest, tiny_model
from tests.support.trainers import logged
from trl_real import REALConfig, REALTrainer
from trl_real.step.plan import MicroStep


GROUP = 16
BATCH = 8  # on all processes
CUT = dict(accumulation=4, steps=2, max_steps=2, prompts=4, lora_scale=0.1)
RATES = {"full": 0.3, "LoRA": 0.6}  # scores of about 0.2 after a step: they matter, and do not saturate
BUCKET = 300  # elements
POSITION_LIMIT = 7  # tokens, of "long RoPE"
DEEPSPEED: dict[str, Any] = dict(  # as recipes/accelerate/zero3.json
    bf16=dict(enabled="auto"),
    communication_data_type="fp32",
    data_types=dict(grad_accum_dtype="fp32"),
    gradient_clipping="auto",
    gradient_accumulation_steps="auto",
    train_batch_size="auto",
    train_micro_batch_size_per_gpu="auto",
    zero_allow_untested_optimizer=True,
)
FIELDS = {item.name for item in fields(REALConfig)}

Tensors = dict[str, torch.Tensor]


@dataclass
class Outcome:
    """What became of a cell in one process."""

    kind: str = "trained"  # or "refused" or "crashed",
    said: str = ""  # with this error
    prompts: list[str] = field(default_factory=list)  # of this process's rollouts, in order
    # Trained parameters before every optimizer step, and its gradient; from the first process alone
    before: list[Tensors] = field(default_factory=list)
    gradients: list[Tensors] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # as logged, of every optimizer step
    plans: list[tuple[MicroStep, ...]] = field(default_factory=list)  # rows of every forward, by step
    spread: list[bool] = field(default_factory=list)  # whether the groups of each step are spread over micro-steps
    layouts: set[str] = field(default_factory=set)  # kinds of batches that were run with gradient
    reentrant: bool | None = None  # the `use_reentrant` of the layers; `None` without checkpointing
    rounded: set[str] = field(default_factory=set)  # what has no more digits than bfloat16


class Observed(REALTrainer):
    """Writes down what its forwards were."""

    outcome: Outcome

    def _compute_loss(self, model: Any, inputs: Any) -> torch.Tensor:
        plans = self._phase.generation.plans
        self.outcome.plans = [plan.micro_steps for plan in plans]
        self.outcome.spread = [not plan.whole_groups for plan in plans]
        self.outcome.layouts |= {type(batch).__name__ for batch in inputs.batches}
        for layer in self.model.modules():
            if vars(layer).get("gradient_checkpointing"):
                self.outcome.reentrant = layer._gradient_checkpointing_func.keywords["use_reentrant"]
        loss = super()._compute_loss(model, inputs)
        old = [rollout.old_per_token_logps for rollout in self._phase.generation.rollouts.values()]
        note_rounding(self.outcome, "log-probabilities", [logps for logps in old if logps is not None])
        return loss


@dataclass
class Watch(TrainerCallback):
    """Writes down the parameters before every optimizer step, and its gradient."""

    cell: Cell
    trainer: REALTrainer
    outcome: Outcome

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.outcome.before.append(self._whole(dict(self._trained())))
        if self.cell.is_deepspeed:
            self.outcome.gradients.append(self._masters())

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        if not self.cell.is_deepspeed:
            self.outcome.gradients.append(self._whole({name: p.grad for name, p in self._trained()}))
            note_rounding(self.outcome, "gradients", self.outcome.gradients[-1].values())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        # DeepSpeed has stepped before anybody can ask it for gradients; its weights in float32 tell of them
        if self.cell.is_deepspeed:
            before, after = self.outcome.gradients.pop(), self._masters()
            rate = RATES[self.cell.parameters]
            self.outcome.gradients.append({name: (before[name] - after[name]) / rate for name in after})

    def _trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for name, parameter in self.trainer.model.named_parameters():
            if parameter.requires_grad:
                yield name.replace("_checkpoint_wrapped_module.", ""), parameter

    def _whole(self, tensors: Tensors) -> Tensors:
        with self.trainer._dist.gather_params(list(tensors.values())):
            whole = {name: t.full_tensor() if isinstance(t, DTensor) else t for name, t in tensors.items()}
            return {name: t.detach().float().clone() for name, t in whole.items()}

    def _masters(self) -> Tensors:
        from deepspeed.utils import safe_get_full_fp32_param

        return {name: safe_get_full_fp32_param(p).detach().clone() for name, p in self._trained()}


def note_rounding(outcome: Outcome, what: str, tensors: Collection[torch.Tensor]) -> None:
    if tensors and all(torch.equal(tensor, tensor.bfloat16().to(tensor.dtype)) for tensor in tensors):
        outcome.rounded.add(what)


def starting_model(long_rope: bool, rounded: bool) -> PreTrainedModel:
    """The model before it has an adapter. Its weights are small: bfloat16 changes a gradient by a hundredth."""
    options: dict[str, Any] = dict(initializer_range=0.12)
    if long_rope:
        rope = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0] * 4, long_factor=[2.0] * 4)
        options["rope_parameters"] = rope | dict(original_max_position_embeddings=POSITION_LIMIT, factor=8.0)
    return tiny_model(**options).to(torch.bfloat16 if rounded else torch.float32)


def rewards_of(prompts: list[str], completion_ids: list[list[int]]) -> list[float | None]:
    """
    Zeros and ones in every group.

    Prompts of an odd number of words, those of the first step, have labels for a fourth of their rollouts only. They
    fit into one micro-step, which is then the first of its step and the last; the other step needs several.
    """
    rewards: list[float | None] = []
    for index, (prompt, ids) in enumerate(zip(prompts, completion_ids, strict=True)):
        labelled = len(prompt.split()) % 2 == 0 or index % 4 == 3
        rewards.append(float(digest("reward", prompt, tuple(ids)) % 2) if labelled else None)
    return rewards


def options_of(cell: Cell) -> dict[str, Any]:
    options: dict[str, Any] = dict(
        optim="sgd",
        learning_rate=RATES[cell.parameters],
        max_grad_norm=0.0,
        num_generations=GROUP,
        bf16=cell.precision != "float32",
        pack_rollouts=cell.layout != "padded",
        share_prompts=cell.layout == "shared",
        ddp_timeout=60,
    )
    if cell.checkpointing in ("reentrant", "non-reentrant"):
        options["gradient_checkpointing_kwargs"] = dict(use_reentrant=cell.checkpointing == "reentrant")
    if cell.backend == "DDP":
        options["ddp_bucket_cap_mb"] = BUCKET * 4 / 2**20
    elif cell.is_deepspeed:
        zero: dict[str, Any] = dict(stage=int(cell.backend[-1]), reduce_bucket_size=BUCKET)
        if cell.backend == "ZeRO-3":
            zero |= dict(stage3_param_persistence_threshold=0, stage3_prefetch_bucket_size=BUCKET)
        options["deepspeed"] = DEEPSPEED | dict(zero_optimization=zero)
    return options


def train(cell: Cell, outcome: Outcome) -> None:
    def reward(prompts: list[str], completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
        outcome.prompts = prompts
        return rewards_of(prompts, completion_ids)

    os.environ["FSDP_ACTIVATION_CHECKPOINTING"] = str(cell.checkpointing == "FSDP's own").lower()
    cut = CUT | dict(
        batch=BATCH // cell.processes,
        build=lambda: starting_model(cell.layout == "long RoPE", cell.precision == "bf16 weights"),
        lora=cell.parameters == "LoRA",
        checkpointing=cell.checkpointing not in ("none", "FSDP's own"),
        options=options_of(cell),
    )
    trainer = trainer_for(cut, Observed, reward_func=reward)
    trainer.outcome = outcome
    trainer.add_callback(Watch(cell, trainer, outcome))
    trainer.train()
    outcome.losses = logged(trainer, "loss")
    assert (cell.backend == "FSDP2") == all(isinstance(p, DTensor) for p in trainer.model.parameters())


def attempt(cell: Cell) -> Outcome:
    outcome = Outcome()
    try:
        train(cell, outcome)
    except Exception as error:
        named = set(re.findall(r"`(\w+)(?:=[^`]*)?`", str(error))) & FIELDS
        outcome.kind = "refused" if isinstance(error, ValueError) and named else "crashed"
        outcome.said = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    return outcome


def main(folder: Path, cells: list[tuple[int, Cell]]) -> None:
    """Trains cells of one backend, until one crashes: nobody knows then in which collective the other process is."""
    warnings.simplefilter("ignore")
    if cells[0][1].backend == "FSDP2":
        use_fsdp()
    rank = int(os.environ.get("RANK", "0"))
    for number, cell in cells:
        AcceleratorState._reset_state()  # which has one precision
        outcome = attempt(cell)
        if rank:
            outcome.before, outcome.gradients = [], []
        torch.save(outcome, folder / f"{rank}.part")
        os.replace(folder / f"{rank}.part", folder / f"{number}-{rank}.pt")
        if outcome.kind == "crashed":
            os._exit(1)
