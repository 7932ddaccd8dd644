"""
GRPOTrainer with exact validation and complete checkpoints, shared by `REALTrainer` and the baselines of the recipes.

Metrics that reward functions and tools log themselves stay means over batches, in which prompts that fill up a last
batch also count.
"""

import math
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.logging import get_logger
from datasets import IterableDataset
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel
from transformers.trainer_utils import EvalLoopOutput

from ..checkpoints.trainer import CheckpointingTrainer
from ..compat import get_config_model_id, is_async_callable
from ..engines.frozen_base import keep_base_exact
from ..engines.fsdp import keep_float32
from ..engines.precision import other_precision
from ..engines.sharded import settle, settle_before_sending
from ..objective.labels import LabelRule
from ..rewards.calling import checked
from .card import complete_card
from .config import ValidationConfig
from .whole_set import StreamRows, Validation, check_best_metric, check_best_metric_logged, deal_batches


logger = get_logger(__name__)


class ValidatingTrainer(CheckpointingTrainer):
    """
    [`~trl.GRPOTrainer`] with exact evaluation, which has its own sampling and logs avg@k and pass@k.

    Arguments as for [`~trl.GRPOTrainer`], with a [`ValidationConfig`]. A rollout is correct when the weighted sum of
    its rewards exceeds 0.5.
    """

    args: ValidationConfig
    model: PreTrainedModel
    num_generations: int
    num_generations_eval: int
    _label_rule = LabelRule(0.5)
    validation: Validation | None = None  # while a set is evaluated
    rewards_per_func: torch.Tensor  # of the latest batch (N, F)
    _lengths: torch.Tensor  # of the latest batch's completions, and whether they are truncated (N, 2)

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        check_best_metric(self.args, self.eval_dataset if isinstance(self.eval_dataset, dict) else ())
        if self.use_vllm:
            keep_base_exact(self.vllm_generation)
            settle_before_sending(self.vllm_generation)
            if warning := other_precision(self.vllm_generation, self.args):
                logger.warning(warning)

    def create_accelerator_and_postprocess(self) -> None:
        """As Transformers', with float32 where FSDP would round."""
        super().create_accelerator_and_postprocess()
        keep_float32(self.accelerator)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """The batches of this process, in the order of the set."""
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(rows, str):
            rows = cast(dict[str, Any], self.eval_dataset)[rows]
        if rows is None:
            raise ValueError("`eval_dataset` is missing: pass one to the trainer or to `evaluate`.")
        workers = self.args.dataloader_num_workers
        if isinstance(rows, IterableDataset):  # the rows are then in memory; training keeps its workers
            rows, workers = StreamRows(rows), 0
        processes, samples = self.accelerator.num_processes, self.num_generations_eval
        batches = deal_batches(len(rows), samples, self.args.per_device_eval_batch_size, processes)
        return DataLoader(
            rows,
            batch_sampler=batches[self.accelerator.process_index :: processes],
            collate_fn=self._get_collator_with_removed_columns(self.data_collator, "Evaluation"),
            num_workers=workers,
            multiprocessing_context=self.args.dataloader_multiprocessing_context if workers else None,
            prefetch_factor=self.args.dataloader_prefetch_factor if workers else None,
        )

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Evaluates one set, or each of several. Returns the metrics under the names that are logged."""
        if self.use_vllm and not self.is_in_train:
            # After training, the same step may have other weights, for example those of the best checkpoint
            self._last_loaded_step = -1
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if eval_dataset is None and self.is_in_train:
            check_best_metric_logged(self.args.metric_for_best_model, metrics)
        return metrics

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluates one set; Transformers calls it for each of several."""
        validation = self.validation = Validation(len(cast(Sized, dataloader.dataset)), self.num_generations_eval)
        try:
            with eval_sampling(self):
                output = super().evaluation_loop(
                    dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
                )
            metrics = validation.batch_means(self._metrics["eval"]) | self._set_metrics(validation)
        finally:
            self.validation = None
            self._metrics["eval"].clear()  # TRL would log means over batches, of every set under the same names
            settle(self.accelerator)  # the next to gather the weights may be a save
        # JSON and trackers do not accept NaN
        known = {name: None if math.isnan(value) else value for name, value in metrics.items()}
        cast(dict[str, Any], output.metrics).update(
            {f"{metric_key_prefix}_{name}": value for name, value in known.items()}
        )
        return output

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: str | list[str] | None = None
    ) -> None:
        """TRL's model card, which also names this package, and a base model in a folder."""
        super().create_model_card(model_name, dataset_name, tags)
        if self.accelerator.is_main_process:
            complete_card(Path(cast(str, self.args.output_dir)) / "README.md", get_config_model_id(self.model.config))

    def _set_metrics(self, validation: Validation) -> dict[str, float]:
        """Metrics of a complete set."""
        return validation.metrics(self.reward_func_names, self.reward_weights.to(self.accelerator.device))

    def _generate(self, prompts: list) -> tuple:
        output = super()._generate(prompts)
        if self.validation is not None:
            self.model.eval()  # TRL's continuous batching leaves it in training mode
            _, completion_ids, tool_mask, *_ = output
            end = (*self.eos_token_ids, self._tokenizer.pad_token_id)
            lengths = map(len, completion_ids) if tool_mask is None else map(sum, tool_mask)
            truncated = [ids[-1] not in end for ids in completion_ids]
            local = torch.tensor([*zip(lengths, truncated, strict=True)], device=self.accelerator.device)
            self._lengths = cast(torch.Tensor, self.accelerator.gather(local))
        return output

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with checked_rewards(self):
            self.rewards_per_func = rewards = super()._calculate_rewards(*args, **kwargs)
        if self.validation is not None:
            length, truncated = self._lengths.T
            # TRL removes the tokens of a truncated completion from the loss only after this
            counted = length * (1 - truncated) if self.mask_truncated_completions else length
            deciding = self._label_rule.rewards(rewards, self.reward_weights.to(rewards.device))
            label = self._label_rule.labels(deciding, counted)
            self.validation.add(rewards=rewards, label=label, length=length, truncated=truncated)
        return rewards


@contextmanager
def checked_rewards(trainer: ValidatingTrainer) -> Iterator[None]:
    """Until the end of the block, errors of reward functions name the function; reward models stay as they are."""
    functions: list[Any] = trainer.reward_funcs
    trainer.reward_funcs = [
        function if isinstance(function, nn.Module) else checked(function, name, is_async_callable(function))
        for function, name in zip(functions, trainer.reward_func_names, strict=True)
    ]
    try:
        yield
    finally:
        trainer.reward_funcs = functions


@contextmanager
def eval_sampling(trainer: ValidatingTrainer) -> Iterator[None]:
    """Until the end of the block, sampling uses `eval_temperature` and `eval_top_p`, if they are set."""
    # Log-probabilities and entropies stay at the training temperature: TRL built it into the model's head
    backend = trainer.vllm_generation if trainer.use_vllm else trainer.generation_config
    wanted = {"temperature": trainer.args.eval_temperature, "top_p": trainer.args.eval_top_p}
    greedy = wanted["temperature"] == 0 and not trainer.use_vllm
    # Transformers refuses a temperature of 0; vLLM raises one that is almost 0
    of_backend = {"top_k": 1} if greedy else wanted
    changes = [
        (target, name, value, getattr(target, name))
        for target, values in ((backend, of_backend), (trainer, wanted))  # a `rollout_func` may read the trainer's
        for name, value in values.items()
        if value is not None
    ]
    try:
        for target, name, value, _ in changes:
            setattr(target, name, value)
        yield
    finally:
        for target, name, _, before in changes:
            setattr(target, name, before)
