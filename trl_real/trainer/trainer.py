"""REALTrainer: TRL's GRPOTrainer with the anchored softmax classification loss over each prompt's group of rollouts.

Generation, rewards, tools, vLLM, logging and checkpoints are TRL's. The trainer passes rollouts and labels to the
update phase (`step`), returns its losses and logs its metrics. The gradient of an optimizer step is that of its mean
group loss, under every batching: with w_k = ∂L/∂s_k at the policy of the step, held constant, the sum of w_k s_k has
that gradient for any spread of the rollouts over micro-steps and processes.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from accelerate.logging import get_logger
from datasets import Dataset, IterableDataset
from peft import PeftConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin, TrainerCallback
from transformers.utils.quantization_config import QuantizationConfigMixin

from ..compat import get_config_model_id
from ..engines.checkpointing import without_checkpointing
from ..engines.fsdp import gather_head_once
from ..engines.precision import other_logprobs
from ..metrics.completions import LabelSymbol, SignedWeight
from ..metrics.drift import DriftWatch
from ..metrics.histograms import HistogramSums
from ..metrics.mixed import MixedWatch
from ..metrics.trackers import send_histograms
from ..objective import LOSS_TYPES, group_shares
from ..step.layouts import MicroStepBatch
from ..step.rollouts import Rollout, unpad
from ..validation.arguments import check_adapters, check_arguments, check_rollout_func
from ..validation.batches import batch_numbers
from ..validation.card import PAPER
from ..validation.trainer import ValidatingTrainer
from ..validation.whole_set import Validation
from .config import REALConfig
from .resuming import ResumePosition, skip_permutations
from .startup import advice, disable_functional_dropout, make_phase, start_line


logger = get_logger(__name__)


class REALTrainer(ValidatingTrainer):
    """
    Trainer for REAL, "Rewards as Labels: Revisiting RLVR from a Classification Perspective" (arXiv 2602.05630). A
    drop-in for [`~trl.GRPOTrainer`]: same constructor, same data, same reward functions.

    Example:

    ```python
    from datasets import load_dataset
    from trl.rewards import accuracy_reward
    from trl_real import REALConfig, REALTrainer

    trainer = REALTrainer(
        model="Qwen/Qwen2.5-0.5B-Instruct",
        reward_funcs=accuracy_reward,
        args=REALConfig(output_dir="runs/real", steps_per_generation=32, gradient_accumulation_steps=8),
        train_dataset=load_dataset("trl-lib/DeepMath-103K", split="train"),
    )
    trainer.train()
    ```

    Args:
        args ([`REALConfig`], *optional*):
            Configuration. `None` builds one with the defaults.
        model, reward_funcs, train_dataset, eval_dataset, processing_class, reward_processing_classes, callbacks,
        optimizers, quantization_config, peft_config, tools, rollout_func, environment_factory:
            As for [`~trl.GRPOTrainer`]. A reward of `None` or NaN means "no label".

    Raises:
        `TypeError`: If `args` is not a [`REALConfig`].
        `ValueError`: If there are several reward functions and `args` does not specify which reward decides, if a
        tracker is not installed, if `train_dataset` is smaller than one generation, if `pack_rollouts` is true for a
        model that does not support it, or if the log-probabilities of a vLLM server do not fit `mismatch_limit`.
    """

    _tag_names = ["trl", "real"]
    _name = "REAL"
    _paper = PAPER
    args: REALConfig  # pyright: ignore[reportIncompatibleVariableOverride] the constructor accepts no other
    max_completion_length: int
    pad_to_multiple_of: int | None

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        reward_funcs: Any = None,
        args: REALConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        reward_processing_classes: PreTrainedTokenizerBase | list[PreTrainedTokenizerBase] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        quantization_config: QuantizationConfigMixin | None = None,
        peft_config: PeftConfig | None = None,
        tools: list[Callable] | None = None,
        rollout_func: Callable | None = None,
        environment_factory: Any = None,
    ):
        if args is None:
            model_name = model if isinstance(model, str) else get_config_model_id(model.config)
            args = REALConfig(f"{model_name.split('/')[-1]}-REAL")
        if not isinstance(args, REALConfig):
            raise TypeError(f"`args` must be a REALConfig, got {type(args).__name__}: write REALConfig in its place.")
        check_arguments(args, reward_funcs if environment_factory is None else None, train_dataset, rollout_func)
        check_adapters(model, peft_config)
        checkpointing: Any = args.gradient_checkpointing_kwargs or {}
        if checkpointing.get("use_reentrant") and args.ddp_find_unused_parameters is None:
            # Transformers does so for a checkpointed model, but not for one with an adapter. With True, DDP marks
            # parameters as ready before the backward of a recomputed layer does, and fails.
            args.ddp_find_unused_parameters = False
        # A KL term to the old policy needs no reference model, so TRL must not load one: it reads `args.beta` here.
        # `self.beta`, for which it would compute reference log-probabilities in every generation, stays 0 as well.
        beta, args.beta = args.beta, 0.0 if args.kl_target == "old" else args.beta
        try:
            super().__init__(
                model,
                reward_funcs,
                args,
                train_dataset,
                eval_dataset,
                processing_class,
                reward_processing_classes,
                callbacks,
                optimizers,
                quantization_config,
                peft_config,
                tools,
                check_rollout_func(rollout_func),
                environment_factory,
            )
        finally:
            args.beta = beta
        # For an adapter under ZeRO-3, TRL requires reentrant checkpointing, but sets only the field's former name
        vars(args)["activation_checkpointing_kwargs"] = args.gradient_checkpointing_kwargs
        if self.use_vllm and (warning := other_logprobs(self.vllm_generation, args.mismatch_limit)):
            logger.warning(warning)
        if args.disable_dropout:
            disable_functional_dropout(self.model)
        self._train_rule = args.label_rule(self.reward_func_names)
        self._label_rule = replace(self._train_rule, label_func=None)  # evaluation keeps the threshold
        self._regularized = args.beta != 0.0 or self._entropy_bonus_enabled or self.aux_loss_enabled
        if args.regularize == "trained" and not self._regularized:
            logger.warning("`regularize='trained'` has no effect: there is no KL term, entropy bonus or balance loss.")
        self._phase = make_phase(self, self._regularized)
        self._mixed_watch = MixedWatch()
        watched = args.score_clip is None and args.loss_type in LOSS_TYPES  # the watch's limits are those of these
        self._drift_watch = DriftWatch(args.tau) if watched else None
        self._histograms = HistogramSums()
        self._scoring = self._started = False  # TRL scores completions; the first generation is planned
        self._train_sampler = None
        self.add_callback(ResumePosition(self))
        for warning in advice(self.model, args):
            logger.warning(warning)

    # ---- position in the run ----------------------------------------------------------------------------------------

    def start_at(self, micro_step: int, epochs: int) -> None:
        """Start training at this micro-step of an epoch, after this many epochs, without rollouts."""
        self._step = micro_step
        self._phase.generation = None
        self._phase.choice.resume(cast(dict[str, Any], self.state.stateful_callbacks))
        skip_permutations(self._train_sampler, epochs)

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Any:
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    # ---- rollouts -> labels -> plan ---------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """
        One micro-step; without forward and backward if no process has rollouts for it.

        The batch is therefore prepared here, and what Transformers does before that is repeated. A loss of zero would
        not do for a micro-step without rollouts: ZeRO-3 then adds the gradients of the step before.
        """
        start = time.perf_counter()
        # Evaluation leaves the model in evaluation mode, but not its wrapper. To set all modules takes time.
        if not (model.training and self.model.training):
            model.train()
        if callable(train := getattr(self.optimizer, "train", None)):  # schedule-free optimizers swap weights here
            train()
        batch = self._prepare_inputs(inputs)
        self._current_train_step_time += time.perf_counter() - start
        if batch is None:
            self._step += 1
            return torch.zeros((), device=self.accelerator.device)
        with self._phase.attention(batch):
            return super().training_step(model, batch, num_items_in_batch)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """The batch of this micro-step; `None` if no process has rollouts for it and no gradient awaits reduction."""
        if isinstance(generation_batch, MicroStepBatch):
            return generation_batch  # prepared by `training_step`
        if self.validation is not None:
            return self._evaluation_batch(generation_batch, self.validation)
        _, _, accumulation, per_generation = batch_numbers(self.args)
        step, micro_step = divmod(self._step % per_generation, min(accumulation, per_generation))
        steps_done = self.state.global_step
        if self._phase.generation is None or self._step % (per_generation * self.num_iterations) == 0:
            rollouts, labels, counts = self._generate_rollouts(generation_batch)
            generation = self._phase.start_generation(rollouts, labels, counts, steps_done, step)
            self._log_generation(generation.labels, generation.metrics)
            if not self._started:
                gather_head_once(self.model)
                self.accelerator.print(start_line(self, generation.layout, self._train_rule))
                self._started = True
        return self._phase.micro_step(step, micro_step, steps_done, last=self.accelerator.sync_gradients)

    def _evaluation_batch(self, inputs: list[dict[str, Any]], validation: Validation) -> MicroStepBatch:
        """An evaluation batch in one piece, without the prompts that only fill it up."""
        rollouts, labels, _ = self._generate_rollouts(inputs)
        self._log_generation(labels, self._phase.planner.label_metrics(labels))
        labels = labels[: validation.prompts_in_batch]
        if len(validation.batches) == 1:
            self._phase.start_evaluation()
        counted = max(labels.numel() - self.accelerator.process_index * len(rollouts), 0)
        return self._phase.evaluation_batch(rollouts[:counted] or [rollouts[0].filler()], labels)

    def _generate_rollouts(self, inputs: list[dict[str, Any]]) -> tuple[list[Rollout], torch.Tensor, torch.Tensor]:
        """This process's rollouts; labels (P, G) and token counts (P * G, 3) of all processes."""
        trains = self.validation is None
        self._scoring = True
        try:
            with without_checkpointing(self.model):
                batch = self._generate_and_score_completions(inputs)
        finally:
            self._scoring = False
        rollouts = unpad(batch, self.accelerator.process_index * len(inputs))
        counts = self._phase.counts(rollouts)
        cast(dict[str, Any], self.state.stateful_callbacks).update(self._phase.choice.decided)
        rule = self._train_rule if trains else self._label_rule
        rewards = rule.rewards(self.rewards_per_func, self.reward_weights.to(counts.device))
        if warning := self._train_rule.warning(rewards):
            logger.warning(warning)
        group = self.num_generations if trains else self.num_generations_eval
        return rollouts, rule.labels(rewards.view(-1, group), counts[:, -1].view(-1, group)), counts

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        # For scoring, TRL asks for log-probabilities of every rollout. The update phase computes those that it needs.
        if self._scoring:
            return None, None, None
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    # ---- scores -> weights -> loss ----------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: Any) -> torch.Tensor:
        loss = self._phase.loss(model, inputs, self._groups_in_step(), self._entropy_weight())
        if self.validation is None and self.accelerator.sync_gradients:
            self._end_step()
        return loss

    def _groups_in_step(self) -> float:
        """Groups over which the loss is a mean; the last optimizer step of an epoch may have fewer than the others."""
        if self.validation is not None:
            return self.validation.prompts
        rows = self.args.per_device_train_batch_size * self.accelerator.num_processes
        return self.current_gradient_accumulation_steps * rows / self.num_generations

    def _entropy_weight(self) -> float:
        """Coefficient of the entropy bonus: 0 while the entropy is above the target of TRL's controller."""
        above = self.use_adaptive_entropy and self._last_world_entropy > self.args.entropy_target
        return 0.0 if above else self.entropy_coef

    # ---- metrics ----------------------------------------------------------------------------------------------------

    def _log_generation(self, labels: torch.Tensor, metrics: dict[str, float]) -> None:
        """Log the labels (P, G) of a generation or an evaluation batch, and its metrics."""
        mode = "train" if self.validation is None else "eval"
        weights, _ = self._phase.objective.weigh(torch.zeros_like(labels), labels)  # as just sampled, so at score 0
        self._logs["extra"]["label"].extend(map(LabelSymbol, labels.flatten().tolist()))
        self._logs["extra"]["weight"].extend(map(SignedWeight, (-weights).flatten().tolist()))
        for name, value in metrics.items():
            self._metrics[mode][name].append(value)
        if mode == "train" and (warning := self._mixed_watch.warning(group_shares(labels), len(labels))):
            logger.warning(warning)

    def _end_step(self) -> None:
        """Log the optimizer step that ends, and adapt the entropy coefficient."""
        means, histograms = self._phase.end_step()
        if self._drift_watch and (warning := self._drift_watch.warning(means)):
            logger.warning(warning)
        self._histograms.add(histograms)
        for name, value in self._shown(means).items():
            if name != "loss":  # logged by Transformers
                self._metrics["train"][name].append(value)
        if self._entropy_bonus_enabled:
            if self.use_adaptive_entropy and "entropy" in means:
                self._adapt_entropy_coef(means["entropy"])
            self._metrics["train"]["entropy_coef"].append(self.entropy_coef)

    def _adapt_entropy_coef(self, entropy: float) -> None:
        """TRL's controller, which TRL has inside its loss: raise the coefficient up to the target, lower it above."""
        args = self.args
        if entropy <= args.entropy_target:
            self.entropy_coef = min(self.entropy_coef + args.entropy_coef_delta, args.entropy_coef_max)
        else:
            self.entropy_coef = max(self.entropy_coef - args.entropy_coef_delta, args.entropy_coef_min)
        self._last_world_entropy = entropy

    def _shown(self, means: dict[str, float]) -> dict[str, float]:
        """Without `policy_loss` if it equals the loss because nothing is added to the objective."""
        return {name: value for name, value in means.items() if self._regularized or name != "policy_loss"}

    def _set_metrics(self, validation: Validation) -> dict[str, float]:
        return super()._set_metrics(validation) | self._shown(self._phase.end_evaluation())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # TRL's table would show advantages, which REAL does not use; the column `weight` replaces them
        advantages, self._logs["advantages"] = self._logs["advantages"], None
        try:
            super().log(logs, start_time)
        finally:
            self._logs["advantages"] = advantages
        if self.model.training:  # callbacks accept only numbers, so the histograms join the record after them
            histograms = self._histograms.take()
            cast(dict[str, Any], self.state.log_history[-1]).update(histograms)
            if self.state.is_world_process_zero:
                send_histograms(self.callback_handler.callbacks, histograms, self.state.global_step)
