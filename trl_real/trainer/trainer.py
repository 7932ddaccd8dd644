"""REALTrainer: TRL's GRPOTrainer with the anchored softmax classification loss over each prompt's group of rollouts.

Generation, rewards, tools, vLLM, logging and checkpoints are TRL's. What happens between rewards and gradient is here,
and the mathematics of it in `objective`. The gradient of an optimizer step is that of the mean of the group losses
over all its groups, however the step is cut: with w_k = ∂L/∂s_k at the policy of the step, held constant, the sum
of w_k s_k has that gradient for any spread of the rollouts over micro-steps and processes.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

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
from ..objective import LOSS_TYPES, group_shares, make_label_rule
from ..step.layouts import MicroStepBatch
from ..step.rollouts import Rollout, unpad
from ..validation.card import PAPER
from ..validation.trainer import ValidatingTrainer
from .checks.adapters import check_adapters
from .checks.advice import advice
from .checks.arguments import check_arguments, check_rollout_func, label_function
from .checks.dropout import disable_functional_dropout
from .config import REALConfig
from .entropy import adapt_entropy_coef, entropy_weight
from .phase import make_phase
from .position import ResumePosition, micro_steps_per_step, skip_permutations
from .start_line import start_line


logger = get_logger(__name__)


class REALTrainer(ValidatingTrainer):
    """
    Trainer for REAL, "Rewards as Labels: Revisiting RLVR from a Classification Perspective" (arXiv 2602.05630).

    A drop-in for [`~trl.GRPOTrainer`]: same constructor, same data, same reward functions.

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
        `ValueError`: If there are several reward functions and `args` does not say which reward decides, if a tracker
        is not installed, if `train_dataset` is smaller than one generation, if `pack_rollouts` is true for a model
        that cannot be run so, or if `mismatch_limit` meets a vLLM server that gives other log-probabilities.
    """

    _tag_names = ["trl", "real"]
    _name = "REAL"
    _paper = PAPER

    def __init__(
        self,
        model: "str | PreTrainedModel | PeftModel",
        reward_funcs: Any = None,
        args: REALConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        reward_processing_classes: PreTrainedTokenizerBase | list[PreTrainedTokenizerBase] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        quantization_config: QuantizationConfigMixin | None = None,
        peft_config: "PeftConfig | None" = None,
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
        if (args.gradient_checkpointing_kwargs or {}).get("use_reentrant") and args.ddp_find_unused_parameters is None:
            # Transformers' own default for a checkpointed model, which it forgets for one with an adapter; with True,
            # DDP marks a parameter ready before the backward of a recomputed layer does, and fails
            args.ddp_find_unused_parameters = False
        # A KL term to the old policy needs no reference model, so TRL must not load one. `self.beta`, from which TRL
        # asks for log-probabilities of the reference in every generation, is the weight of the term to the reference
        # and stays 0; `args.beta` is the user's, which the loss reads.
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
        # TRL insists on reentrant checkpointing for an adapter under ZeRO-3, but under Transformers' former name alone
        vars(args)["activation_checkpointing_kwargs"] = args.gradient_checkpointing_kwargs
        if self.use_vllm and (sentence := other_logprobs(self.vllm_generation, args.mismatch_limit)):
            logger.warning(sentence)
        if args.disable_dropout:
            disable_functional_dropout(self.model)
        self._train_rule = make_label_rule(
            self.reward_func_names, args.label_threshold, args.label_reward_func, label_function(args)
        )
        self._label_rule = replace(self._train_rule, label_func=None)  # evaluation keeps the threshold
        self._regularized = args.beta != 0.0 or self._entropy_bonus_enabled or self.aux_loss_enabled
        if args.regularize == "trained" and not self._regularized:
            logger.warning("`regularize='trained'` has no effect: there is no KL term, entropy bonus or balance loss.")
        self._phase = make_phase(self, self._regularized)
        self._mixed_watch = MixedWatch()
        # Its limits are those of the built-in losses
        watched = args.score_clip is None and args.loss_type in LOSS_TYPES
        self._drift_watch = DriftWatch(args.tau) if watched else None
        self._histograms = HistogramSums()
        self._reading = self._started = False  # TRL scores completions; the first generation is there
        self._train_sampler = None
        self.add_callback(ResumePosition(self))
        for sentence in advice(self.model, args):
            logger.warning(sentence)

    # ---- position in the run ----------------------------------------------------------------------------------------

    def start_at(self, micro_step: int, epochs: int) -> None:
        """Start training at this micro-step of an epoch, after this many epochs, without rollouts."""
        self._step = micro_step
        self._phase.generation = None
        self._phase.choice.resume(self.state.stateful_callbacks)
        skip_permutations(self._train_sampler, epochs)

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Any:
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    # ---- rollouts -> labels -> plan ---------------------------------------------------------------------------------

    def training_step(
        self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """
        One micro-step; without forward and backward if no process has rollouts for it.

        The rollouts are therefore taken here and not, as in Transformers, between `model.train()` and the loss: what
        comes before the loss there comes before them here. To pass a zero loss on is no way out, since ZeRO-3 answers
        a backward without gradients by adding those of the step before.
        """
        start = time.perf_counter()
        # Evaluation leaves the model, but not what wraps it, in evaluation mode. Where nothing is to be done, a walk
        # through all modules would cost as much as a small micro-step.
        if not (model.training and self.model.training):
            model.train()
        if callable(getattr(self.optimizer, "train", None)):  # schedule-free optimizers swap their weights here
            self.optimizer.train()
        batch = self._prepare_inputs(inputs)
        self._current_train_step_time += time.perf_counter() - start
        if batch is None:
            self._step += 1
            return torch.zeros((), device=self.accelerator.device)
        with self._phase.attention(batch):
            return super().training_step(model, batch, num_items_in_batch)

    def _prepare_inputs(self, generation_batch: list[dict[str, Any]] | MicroStepBatch) -> MicroStepBatch | None:
        """The rollouts of this micro-step; `None` if no process has any and nothing waits for a backward."""
        if isinstance(generation_batch, MicroStepBatch):
            return generation_batch  # prepared by `training_step`
        if not self.model.training:
            return self._evaluation_batch(generation_batch)
        slot, taken = self._step % self.args.steps_per_generation, self.state.global_step
        step, micro_step = divmod(slot, micro_steps_per_step(self.args))
        if self._phase.generation is None or self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            rollouts, labels, counts = self._read(generation_batch)
            generation = self._phase.start_generation(rollouts, labels, counts, taken, step)
            self._log_generation(generation.labels, generation.metrics)
            if not self._started:
                gather_head_once(self.model)
                self.accelerator.print(start_line(self, generation.layout, self._train_rule))
                self._started = True
        return self._phase.micro_step(step, micro_step, taken, last=self.accelerator.sync_gradients)

    def _evaluation_batch(self, inputs: list[dict[str, Any]]) -> MicroStepBatch:
        """An evaluation batch in one piece; prompts that fill up are left out."""
        rollouts, labels, _ = self._read(inputs)
        self._log_generation(labels, self._phase.planner.label_metrics(labels))
        labels = labels[: self.validation.prompts_in_batch]
        if len(self.validation.batches) == 1:
            self._phase.start_evaluation()
        rollouts = [rollout for rollout in rollouts if rollout.row < labels.numel()] or [rollouts[0].filler()]
        return self._phase.evaluation_batch(rollouts, labels)

    def _read(self, inputs: list[dict[str, Any]]) -> tuple[list[Rollout], torch.Tensor, torch.Tensor]:
        """Generate: this process's rollouts; labels (P, G) and token counts (P * G, 3) over all processes."""
        training = self.model.training
        self._reading = True
        try:
            with without_checkpointing(self.model):
                batch = self._generate_and_score_completions(inputs)
        finally:
            self._reading = False
        rollouts = unpad(batch, self.accelerator.process_index * len(inputs))
        counts = self._phase.counts(rollouts)
        self.state.stateful_callbacks.update(self._phase.choice.decided)  # saved with checkpoints
        rule = self._train_rule if training else self._label_rule
        rewards = rule.rewards(self.rewards_per_func, self.reward_weights.to(counts.device))
        if warning := self._train_rule.warning(rewards):
            logger.warning(warning)
        groups = (-1, self.num_generations if training else self.num_generations_eval)
        return rollouts, rule.labels(rewards.view(groups), counts[:, -1].view(groups)), counts

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        # TRL asks for old and reference log-probabilities of every rollout while it scores the completions, padded to
        # the longest. They are computed later, where the plan needs them.
        if self._reading:
            return None, None, None
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    # ---- scores -> weights -> loss ----------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: MicroStepBatch) -> torch.Tensor:
        loss = self._phase.loss(model, inputs, self._groups_in_step(), entropy_weight(self))
        if self.model.training and self.accelerator.sync_gradients:
            self._end_step()
        return loss

    def _groups_in_step(self) -> float:
        """Groups over which the loss is a mean: the evaluation set's or the step's; an epoch's last has fewer."""
        if not self.model.training:
            return self.validation.prompts
        rows = self.args.per_device_train_batch_size * self.accelerator.num_processes
        return self.current_gradient_accumulation_steps * rows / self.num_generations

    # ---- metrics ----------------------------------------------------------------------------------------------------

    def _log_generation(self, labels: torch.Tensor, metrics: dict[str, float]) -> None:
        """Log the labels (P, G) of a generation, or of an evaluation batch, and what was counted of it."""
        mode = "train" if self.model.training else "eval"
        weights, _ = self._phase.objective.weigh(torch.zeros_like(labels), labels)  # as just sampled, so at score 0
        self._logs["extra"]["label"].extend(map(LabelSymbol, labels.flatten().tolist()))
        self._logs["extra"]["weight"].extend(map(SignedWeight, (-weights).flatten().tolist()))
        for name, value in metrics.items():
            self._metrics[mode][name].append(value)
        if mode == "train" and (warning := self._mixed_watch.warning(group_shares(labels), len(labels))):
            logger.warning(warning)

    def _end_step(self) -> None:
        """Log the optimizer step that ends, and let the entropy controller react to it."""
        means, histograms = self._phase.end_step()
        if self._drift_watch and (warning := self._drift_watch.warning(means)):
            logger.warning(warning)
        self._histograms.add(histograms)
        for name, value in self._shown(means).items():
            if name != "loss":  # logged by Transformers
                self._metrics["train"][name].append(value)
        if self._entropy_bonus_enabled:
            if self.use_adaptive_entropy and "entropy" in means:
                adapt_entropy_coef(self, means["entropy"])
            self._metrics["train"]["entropy_coef"].append(self.entropy_coef)

    def _shown(self, means: dict[str, float]) -> dict[str, float]:
        """Without `policy_loss` if nothing is added to the objective, when it is the loss."""
        return {name: value for name, value in means.items() if self._regularized or name != "policy_loss"}

    def _whole_set_metrics(self) -> dict[str, float]:
        return super()._whole_set_metrics() | self._shown(self._phase.end_evaluation())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # TRL's table would have advantages, which REAL does not use; `weight` stands in their place
        advantages, self._logs["advantages"] = self._logs["advantages"], None
        try:
            super().log(logs, start_time)
        finally:
            self._logs["advantages"] = advantages
        if self.model.training:  # the callbacks of a log take numbers only, so the lists join the record after them
            histograms = self._histograms.take()
            self.state.log_history[-1].update(histograms)
            if self.state.is_world_process_zero:
                send_histograms(self.callback_handler.callbacks, histograms, self.state.global_step)
