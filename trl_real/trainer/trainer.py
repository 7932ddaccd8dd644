"""REALTrainer: TRL's GRPOTrainer with the anchored softmax classification loss over each prompt's group of rollouts.

Generation, rewards, tools, vLLM, logging and checkpoints are TRL's. What happens between rewards and gradient is here,
and the mathematics of it in `objective`. The gradient of an optimizer step is that of the mean of the group losses
over all its groups, however the step is cut: with w_k = ∂L/∂s_k at the policy of the step, held constant, the sum
of w_k s_k has that gradient for any spread of the rollouts over micro-steps and processes.

What differs from the paper, from its code, or from GRPOTrainer:

1. Groups with one class only have no loss, but count in the mean, as in the authors' code and unlike Eq. 8 as printed
   (`degenerate_groups="keep"` for the latter).
2. Rollouts without gradient are not run, and the others are packed without padding where the model can be run so.
   Entropy, scores and KL are therefore logged over the rollouts that are trained on.
3. Groups go to the optimizer steps of a generation in data order; TRL shuffles single sequences, which tears groups
   apart.
4. The KL term, the entropy bonus and the MoE balance loss are means over rollouts of each rollout's own mean. TRL's
   are means over the tokens of a micro-batch, which depend on the batch cut.
5. `disable_dropout` defaults to true, since a score compares two forwards of the same rollout.
6. Metrics of evaluation are those of the whole set, in which every prompt counts once (`validation`).
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
from ..engines.backwards import one_forward_per_backward
from ..engines.precision import other_logprobs
from ..metrics.drift import DriftWatch
from ..metrics.trackers import send_histograms
from ..objective import LOSS_TYPES
from ..objective.labels import make_label_rule
from ..objective.objective import make_objective
from ..update.generation import Generation
from ..update.micro_batches import MicroStepBatch
from ..update.regularizers import Regularizers
from ..update.rollouts import check_rollout_func
from ..validation.trainer import ValidatingTrainer
from .checkpointing import without_checkpointing
from .checks.adapters import check_adapters
from .checks.advice import advice
from .checks.arguments import check_arguments, label_function
from .checks.dropout import disable_functional_dropout
from .config import REALConfig
from .entropy import adapt_entropy_coef
from .forwards import Forwards
from .loss import StepLoss
from .planning import GenerationPlanner
from .position import ResumePosition, micro_steps_per_step, skip_permutations
from .record import StepRecord


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
    _paper = {
        "title": "Rewards as Labels: Revisiting RLVR from a Classification Perspective",
        "id": "2602.05630",
        # docstyle-ignore
        "citation": """\
@article{real2026rewards,
    title  = {{Rewards as Labels: Revisiting RLVR from a Classification Perspective}},
    year   = 2026,
    eprint = {arXiv:2602.05630},
}""",
    }

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
        if self.use_vllm and (sentence := other_logprobs(self.vllm_generation)):
            if args.mismatch_limit is not None:
                raise ValueError(f"`mismatch_limit`: {sentence} Or leave `mismatch_limit` out.")
            logger.warning(f"{sentence} Until then the metrics `mismatch/...` say nothing.")
        if args.disable_dropout:
            disable_functional_dropout(self.model)
        self._train_rule = make_label_rule(
            self.reward_func_names, args.label_threshold, args.label_reward_func, label_function(args)
        )
        self._label_rule = replace(self._train_rule, label_func=None)  # evaluation keeps the threshold
        self._assemble()
        self._generation: Generation | None = None
        self._train_sampler = None
        self.add_callback(ResumePosition(self))
        for sentence in advice(self.model, args):
            logger.warning(sentence)

    def _assemble(self) -> None:
        """The parts that stand in place of GRPOTrainer's loss, in the order in which a generation meets them."""
        args, balance_coef = self.args, self.router_aux_loss_coef if self.aux_loss_enabled else 0.0
        regularized = args.beta != 0.0 or self._entropy_bonus_enabled or self.aux_loss_enabled
        objective = make_objective(args.tau, args.loss_type, args.degenerate_groups, args.score_clip)
        regularizers = Regularizers(args.beta, args.kl_target, args.use_bias_correction_kl, balance_coef)
        drift_watch = DriftWatch(args.tau) if args.score_clip is None and args.loss_type in LOSS_TYPES else None
        self._forwards = Forwards(self)
        self._record = StepRecord(self, drift_watch, regularized)
        if args.regularize == "trained" and not regularized:
            logger.warning("`regularize='trained'` has no effect: there is no KL term, entropy bonus or balance loss.")
        trains_all = regularized and args.regularize == "all"
        self._planner = GenerationPlanner(self, self._forwards, objective, self._train_rule, trains_all)
        self._loss = StepLoss(self, self._forwards, objective, regularizers, self._record)

    # ---- position in the run ----------------------------------------------------------------------------------------

    def start_at(self, micro_step: int, epochs: int) -> None:
        """Start training at this micro-step of an epoch, after this many epochs, without rollouts."""
        self._step = micro_step
        self._generation = None
        self._forwards.resume(self.state.stateful_callbacks)
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
        with self._forwards.attention(batch):
            return super().training_step(model, batch, num_items_in_batch)

    def _prepare_inputs(self, generation_batch: list[dict[str, Any]] | MicroStepBatch) -> MicroStepBatch | None:
        """The rollouts of this micro-step; `None` if no process has any and nothing waits for a backward."""
        if isinstance(generation_batch, MicroStepBatch):
            return generation_batch  # prepared by `training_step`
        if not self.model.training:
            with without_checkpointing(self.model):
                return self._evaluation_batch(generation_batch)
        slot = self._step % self.args.steps_per_generation
        step, micro_step = divmod(slot, micro_steps_per_step(self.args))
        if self._generation is None or self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            one_each = one_forward_per_backward(self.accelerator, self.model)
            with without_checkpointing(self.model):
                self._generation = self._planner.plan(generation_batch, step, one_each)
        if micro_step == 0:
            self._loss.start_step(self._generation, step)
        forwards = self._generation.micro_step(step, micro_step)
        if not forwards and self.accelerator.sync_gradients:
            forwards = [[self._generation.filler]]  # the last backward of a step reduces all processes' gradients
        one_each = self._generation.plans[step].one_per_backward
        return self._forwards.collate_micro_step(forwards, one_each) if forwards else None

    def _evaluation_batch(self, inputs: list[dict[str, Any]]) -> MicroStepBatch:
        """An evaluation batch in one piece; prompts that fill up are left out."""
        rollouts, labels, _ = self._planner.read(inputs)
        self._planner.log_labels(labels)
        labels = labels[: self.validation.prompts_in_batch]
        if len(self.validation.batches) == 1:
            self._record.start_evaluation()
        rollouts = [rollout for rollout in rollouts if rollout.row < labels.numel()] or [rollouts[0].filler()]
        self._loss.start_evaluation_batch(labels)
        batches = self._forwards.collate_all(rollouts)
        for batch in batches:
            self._planner.remember_reference(batch)
        return MicroStepBatch(batches)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        # TRL asks for old and reference log-probabilities of every rollout while it scores the completions, padded to
        # the longest. They are computed later, where the plan needs them.
        if self._planner.reading:
            return None, None, None
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    # ---- scores -> weights -> loss ----------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: MicroStepBatch) -> torch.Tensor:
        loss = self._loss(model, inputs)
        if self.model.training and self.accelerator.sync_gradients:
            self._end_step()
        return loss

    # ---- metrics ----------------------------------------------------------------------------------------------------

    def _end_step(self) -> None:
        """Log the optimizer step that ends, and let the entropy controller react to it."""
        means = self._record.end_step()
        if self._entropy_bonus_enabled:
            if self.use_adaptive_entropy and "entropy" in means:
                adapt_entropy_coef(self, means["entropy"])
            self._metrics["train"]["entropy_coef"].append(self.entropy_coef)

    def _whole_set_metrics(self) -> dict[str, float]:
        return super()._whole_set_metrics() | self._record.end_evaluation()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # TRL's table would have advantages, which REAL does not use; `weight` stands in their place
        advantages, self._logs["advantages"] = self._logs["advantages"], None
        try:
            super().log(logs, start_time)
        finally:
            self._logs["advantages"] = advantages
        if self.model.training:  # the callbacks of a log take numbers only, so the lists join the record after them
            histograms = self._record.take_histograms()
            self.state.log_history[-1].update(histograms)
            if self.state.is_world_process_zero:
                send_histograms(self.callback_handler.callbacks, histograms, self.state.global_step)
