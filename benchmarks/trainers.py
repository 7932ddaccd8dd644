"""The runs that are compared: GRPOTrainer, REALTrainer, and the model alone on the informative tokens.

In: fixed rollouts and a `Setting`. Out: what `measure.py` saw of the run.
"""

import gc
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from datasets import Dataset
from fixed_rollouts import Rollouts, Setting, build_model, build_tokenizer
from measure import Clock, TokenCounter, worked
from transformers import Qwen2ForCausalLM
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from trl_real import REALConfig, REALTrainer
from trl_real.step.attention import Prefixes, packed_attention, row_boundaries
from trl_real.step.layouts import PackedBatch, SharedBatch, pack_rollouts, share_prompts
from trl_real.step.rollouts import Rollout


TRAINERS = {"GRPO": (GRPOTrainer, GRPOConfig, {"loss_type": "grpo"}), "REAL": (REALTrainer, REALConfig, {})}
GPU = torch.cuda.is_available()
Measured = TypeVar("Measured")


def build_config(method: str, setting: Setting, steps: int, fields: dict[str, Any]) -> GRPOConfig:
    """
    The same settings for GRPOTrainer or REALTrainer.

    Args:
        method (`str`):
            `"GRPO"` or `"REAL"`.
        setting ([`Setting`]):
            Model and generation.
        steps (`int`):
            Optimizer steps per generation.
        fields (`dict[str, Any]`):
            More fields of the configuration, `max_steps` among them.

    Raises:
        `ValueError`: If the optimizer steps cannot share the micro-steps of a generation, so that some of its rollouts
        would not be trained on.
    """
    _, config_class, own = TRAINERS[method]
    if method == "REAL":
        own = own | {"regularize": setting.regularize}
    per_generation, rest = divmod(setting.rollouts, setting.batch)
    if rest or per_generation % steps:
        raise ValueError(
            f"--rollouts {setting.rollouts} --batch {setting.batch}: {steps} optimizer steps cannot share "
            f"{setting.rollouts / setting.batch:g} micro-steps. Make --rollouts a multiple of {setting.batch * steps}."
        )
    defaults = dict(
        output_dir=tempfile.gettempdir(),  # nothing is saved
        per_device_train_batch_size=setting.batch,
        gradient_accumulation_steps=per_generation // steps,
        steps_per_generation=per_generation,
        num_generations=setting.group,
        gradient_checkpointing=setting.gradient_checkpointing,
        entropy_coef=setting.entropy_coef,
        bf16=GPU,
        use_cpu=not GPU,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
    )
    return config_class(**defaults | own | fields)


def build_trainer(
    method: str, config: GRPOConfig, model: Qwen2ForCausalLM | str, vocabulary: int, dataset: Dataset, **others: Any
) -> GRPOTrainer:
    """
    GRPOTrainer or REALTrainer.

    Args:
        method (`str`):
            `"GRPO"` or `"REAL"`.
        config (`GRPOConfig`):
            From [`build_config`] with this method.
        model (`Qwen2ForCausalLM` or `str`):
            A model, or the folder of one.
        vocabulary (`int`):
            Its tokens.
        dataset (`Dataset`):
            One prompt for each group.
        **others:
            Reward function and `rollout_func`, as both trainers take them.
    """
    trainer = TRAINERS[method][0](
        model=model, args=config, train_dataset=dataset, processing_class=build_tokenizer(vocabulary), **others
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class UpdatePhase:
    """
    A trainer on fixed rollouts.

    Args:
        method (`str`), rollouts ([`Rollouts`]), setting ([`Setting`]), steps (`int`):
            As for [`build_config`].
        generations (`int`, *optional*, defaults to `1`):
            Generations in each call of [`~UpdatePhase.train`].
        memory (`bool`, *optional*, defaults to `False`):
            Whether the clock looks at memory.
    """

    def __init__(
        self, method: str, rollouts: Rollouts, setting: Setting, steps: int, generations: int = 1, memory: bool = False
    ):
        dataset = Dataset.from_dict({"prompt": ["w1"] * (setting.rollouts // setting.group)})
        functions = {"reward_funcs": rollouts.reward, "rollout_func": rollouts.rollout_func}
        config = build_config(method, setting, steps, {"max_steps": steps * generations})
        self.trainer = build_trainer(method, config, build_model(setting), setting.vocabulary, dataset, **functions)
        self.clock, self.tokens = Clock(steps, memory), TokenCounter(self.trainer.model)
        self.trainer.add_callback(self.clock)

    def train(self) -> float:
        """Seconds of the last generation, from its rollouts to its last optimizer step."""
        self.trainer.train()
        return self.clock.seconds[-1]


def peak_bytes(method: str, rollouts: Rollouts, setting: Setting, steps: int) -> int:
    """Peak of the generations after the first, above what was in use at the start of each."""
    phase = UpdatePhase(method, rollouts, setting, steps, setting.generations + 1, memory=True)
    phase.train()
    return max(phase.clock.bytes[1:])


class Limit:
    """
    The least that the objective needs of this model: a forward and backward of every rollout with a gradient, and the
    forward without gradient that old log-probabilities need in all but the first optimizer step. Every prompt once,
    without padding, trainer, loss and optimizer.
    """

    def __init__(self, rollouts: Rollouts, setting: Setting, steps: int):
        self.model = build_model(setting)
        add_fused_lm_head(self.model, outputs=("log_probs", "entropy"))  # the head that TRL's trainers run
        self.model.to("cuda" if GPU else "cpu")
        if setting.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        self.rollouts, self.group = rollouts, setting.group
        self.rows = rollouts.informative
        self.later = [row for row in self.rows if row >= setting.rollouts // steps]
        self.tokens = sum(self.share(rows).input_ids.numel() for rows in (self.rows, self.later) if rows)

    def share(self, rows: list[int], layout: Callable[..., PackedBatch] = share_prompts) -> PackedBatch:
        """These rollouts one behind the other in a single row."""
        return layout([self._rollout(row) for row in rows], pad_token_id=0)

    def _rollout(self, row: int) -> Rollout:
        prompt, completion = self.rollouts.prompts[row], self.rollouts.completions[row]
        ids, mask = torch.tensor(completion, device=self.model.device), torch.ones(len(completion), dtype=torch.long)
        prompt_ids = torch.tensor(prompt, device=self.model.device)
        return Rollout(row, prompt_ids, ids, mask.to(ids.device), prompt_key=row // self.group)

    def forward(self, rows: list[int], layout: Callable[..., PackedBatch]) -> torch.Tensor:
        """Sum of the log-probabilities of the completions of these rollouts."""
        batch = self.share(rows, layout)
        apart = row_boundaries(self.model, batch.row_lengths, self.model.device)
        if isinstance(batch, SharedBatch):
            apart["prefixes"] = Prefixes(batch.row_lengths, batch.prefix_of)
        with packed_attention(self.model), torch.autocast(self.model.device.type, torch.bfloat16, enabled=GPU):
            output = self.model(**batch.model_inputs, fused_lm_head=True, **apart)
        return output.log_probs.sum()

    def generation(self, rows_at_once: int, layout: Callable[..., PackedBatch] = pack_rollouts) -> float:
        """Seconds, with so many rollouts in each forward."""
        start = worked()
        with torch.no_grad():
            for part in chunks(self.later, rows_at_once):
                self.forward(part, layout)
        for part in chunks(self.rows, rows_at_once):
            self.forward(part, layout).backward()
        self.model.zero_grad()
        return worked() - start


def chunks(rows: list[int], size: int) -> list[list[int]]:
    """The rows in pieces of that size."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def in_turn(runs: dict[str, Callable[[], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """What every run measured in every round, after one round to warm up."""
    measured: dict[str, list[Measured]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            gc.collect()
            measured[name].append(run())
    return {name: values[1:] for name, values in measured.items()}
