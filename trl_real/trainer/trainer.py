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
from contextlib import nullcontext
from typing import Any

import torch
from accelerate.logging import get_logger
from datasets import Dataset, IterableDataset
from peft import PeftConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin, TrainerCallback
from transformers.utils.quantization_config import QuantizationConfigMixin

from ..compat import get_config_model_id
from ..metrics.drift import DriftWatch
from ..metrics.histograms import HistogramSums
from ..metrics.step import StepMetrics, score_sums
from ..objective.labels import group_shares, make_label_rule
from ..objective.losses import sequence_scores
from ..update.generation import Generation, Objective, StepWeights
from ..update.micro_batches import MicroBatch, MicroStepBatch
from ..update.packing import packed_attention
from ..update.plan import Capacity, plan_generation
from ..update.regularizers import Regularizers, balance_losses, capture_router_logits, per_token_kl
from ..update.rollouts import Rollout, check_rollout_func, exchange, token_counts, unpad
from .advice import advice
from .config import REALConfig
from .forwards import ScoringTrainer
from .position import ResumePosition, skip_permutations


logger = get_logger(__name__)


class REALTrainer(ScoringTrainer):
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
        `ValueError`: If there are several reward functions and `args` does not say which reward decides, or
        `pack_rollouts` is true for a model that cannot be run so.
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
        # A KL term to the old policy needs no reference model, so TRL must not load one
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
        self._objective = Objective(args.tau, args.loss_type, args.degenerate_groups, args.score_clip)
        self._label_rule = make_label_rule(self.reward_func_names, args.label_threshold, args.label_reward_func)
        self._trains_every_rollout = beta != 0.0 or self._entropy_bonus_enabled or self.aux_loss_enabled
        self._regularizers = Regularizers(
            beta,
            args.kl_target,
            args.use_bias_correction_kl,
            self.router_aux_loss_coef if self.aux_loss_enabled else 0.0,
        )
        self._packs = self._may_pack()
        self._micro_steps_per_step = min(args.gradient_accumulation_steps, args.steps_per_generation)
        self._generation: Generation | None = None
        self._step_weights: StepWeights | None = None
        self._step_metrics = StepMetrics()
        self._histograms = HistogramSums()
        self._drift_watch = DriftWatch(args.tau) if args.score_clip is None else None
        self._train_sampler = None
        self.add_callback(ResumePosition(self))
        for sentence in advice(self.model, args):
            logger.warning(sentence)

    # ---- position in the run ----------------------------------------------------------------------------------------

    def start_at(self, micro_step: int, epochs: int) -> None:
        """Start training at this micro-step of an epoch, after this many epochs, without rollouts."""
        self._step = micro_step
        self._generation = None
        skip_permutations(self._train_sampler, epochs)

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Any:
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    # ---- rollouts -> labels -> plan ---------------------------------------------------------------------------------

    def training_step(
        self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """One micro-step; without forward and backward if no process has rollouts for it."""
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
        with packed_attention(self.model) if self._packs else nullcontext():  # the backward may recompute the forward
            return super().training_step(model, batch, num_items_in_batch)

    def _prepare_inputs(self, generation_batch: list[dict[str, Any]] | MicroStepBatch) -> MicroStepBatch | None:
        """The rollouts of this micro-step; `None` if no process has any and nothing waits for a backward."""
        if isinstance(generation_batch, MicroStepBatch):
            return generation_batch  # prepared by `training_step`
        if not self.model.training:
            return self._evaluation_batch(generation_batch)
        slot = self._step % self.args.steps_per_generation
        step, micro_step = divmod(slot, self._micro_steps_per_step)
        if self._generation is None or self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            self._generation = self._generate_and_plan(generation_batch, first_step=step)
        if micro_step == 0:
            self._start_step(step)
        forwards = self._generation.micro_step(step, micro_step)
        if not forwards and self.accelerator.sync_gradients:
            forwards = [[self._generation.filler]]  # the last backward of a step reduces all processes' gradients
        return MicroStepBatch([self._collate(rollouts) for rollouts in forwards]) if forwards else None

    def _rollouts_and_labels(self, inputs: list[dict[str, Any]]) -> tuple[list[Rollout], torch.Tensor, torch.Tensor]:
        """Generate: this process's rollouts; labels (P, G) and token counts (P * G, 3) over all processes."""
        self._reading_rollouts = True
        try:
            batch = self._generate_and_score_completions(inputs)
        finally:
            self._reading_rollouts = False
        rollouts = unpad(batch, self.accelerator.process_index * len(inputs))
        if self._packs is None:
            self._packs = self._rows_stay_apart(rollouts)
        counts = self.accelerator.gather(token_counts(batch))
        rewards = self._label_rule.rewards(self._rewards_per_func, self.reward_weights.to(counts.device))
        if warning := self._label_rule.warning(rewards):
            logger.warning(warning)
        labels = self._label_rule.labels(rewards, counts[:, -1])
        self._logs["extra"]["label"].extend(labels.tolist())
        mode = "train" if self.model.training else "eval"
        labels = labels.view(-1, self.num_generations if mode == "train" else self.num_generations_eval)
        for name, share in group_shares(labels).items():
            self._metrics[mode][f"groups/{name}"].append(share)
        return rollouts, labels, counts

    def _generate_and_plan(self, inputs: list[dict[str, Any]], first_step: int) -> Generation:
        """Rollouts, labels and plan of a generation, with the log-probabilities that its later steps compare with."""
        rollouts, labels, counts = self._rollouts_and_labels(inputs)
        process, num_processes = self.accelerator.process_index, self.accelerator.num_processes
        counted = counts[:, -1] > 0
        keep = counted if self._trains_every_rollout else self._objective.informative(labels).flatten()
        self._metrics["train"]["trained/rollouts"].append(keep.float().mean().item())
        tokens = counts[:, -1].float()
        self._metrics["train"]["trained/tokens"].append(((tokens * keep).sum() / tokens.sum().clamp(min=1)).item())
        prompts, completions, _ = counts.T.tolist()
        plans = plan_generation(
            Capacity(num_processes, self.args.per_device_train_batch_size, prompts, completions, self._packs),
            keep.tolist(),
            self.num_generations,
            self.args.steps_per_generation // self._micro_steps_per_step,
            self._micro_steps_per_step,
            on_policy_step=first_step if self.num_iterations == 1 else None,
        )
        wanted = [[row for plan in plans for row in plan.rows(other)] for other in range(num_processes)]
        generation = Generation(
            rollouts=exchange(rollouts, wanted, process, self.accelerator.device),
            filler=min(rollouts, key=lambda rollout: rollout.length).filler(),
            labels=labels,
            plans=plans,
            policy_version=self.state.global_step,
            process=process,
        )
        self._remember_logps(generation, first_step)
        return generation

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self._rewards_per_func = super()._calculate_rewards(*args, **kwargs)
        return self._rewards_per_func

    def _evaluation_batch(self, inputs: list[dict[str, Any]]) -> MicroStepBatch:
        """An evaluation batch in one piece: fresh rollouts, so every score is 0; prompts that fill up are left out."""
        rollouts, labels, _ = self._rollouts_and_labels(inputs)
        labels = labels[: self._validation.prompts_in_batch]
        if len(self._validation.batches) == 1:
            self._step_metrics = StepMetrics()  # sums over the whole set, without what an interrupted one left
        rollouts = [rollout for rollout in rollouts if rollout.row < labels.numel()] or [rollouts[0].filler()]
        self._step_weights = StepWeights(labels, 0, on_policy=True)
        self._weigh(torch.zeros_like(labels))
        batch = self._collate(rollouts)
        if self.beta != 0.0:
            batch.store("ref_per_token_logps", self._reference_logps(batch))
        return MicroStepBatch([batch])

    def _remember_logps(self, generation: Generation, first_step: int) -> None:
        """Old log-probabilities for the steps that will be off policy, reference ones for all."""
        for step in range(len(generation.plans)):
            if step < first_step and self.num_iterations == 1:
                continue  # resumed past this step
            for rollouts in generation.forwards(step):
                batch = self._collate(rollouts)
                if step != first_step:
                    batch.store("old_per_token_logps", self._policy_logps(batch))
                if self.beta != 0.0:
                    batch.store("ref_per_token_logps", self._reference_logps(batch))

    # ---- scores -> weights -> loss ----------------------------------------------------------------------------------

    def _start_step(self, step: int) -> None:
        """Weights of an optimizer step: closed form on policy, from a scoring pass if its groups are spread out."""
        generation = self._generation
        on_policy = self.state.global_step == generation.policy_version
        self._step_weights = generation.step_weights(step, on_policy)
        if on_policy:
            self._weigh(torch.zeros_like(self._step_weights.labels))
        elif not generation.plans[step].whole_groups:
            scores = torch.zeros_like(self._step_weights.labels)
            for rollouts in generation.forwards(step):
                batch = self._collate(rollouts)
                local = sequence_scores(self._policy_logps(batch), batch.padded("old_per_token_logps"), batch.mask)
                scores += self._step_weights.spread(batch.rows, local)
            self._weigh(self.accelerator.reduce(scores, reduction="sum"))

    def _weigh(self, scores: torch.Tensor) -> None:
        self._step_weights.weights, self._step_weights.shares = self._objective.weigh(
            scores, self._step_weights.labels
        )

    def _weights_of(self, rows: list[int | None], scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and loss shares (B,) of these rows."""
        step = self._step_weights
        weights, shares = step.weights, step.shares
        if weights is None:  # off policy, and every group is whole in this micro-step, perhaps on several processes
            known = self.accelerator.reduce(step.spread(rows, scores), reduction="sum")
            weights, shares = self._objective.weigh(known, step.labels)
        return step.pick(rows, weights, 0.0), step.pick(rows, shares, 0.0)

    def _compute_loss(self, model: Any, inputs: MicroStepBatch) -> torch.Tensor:
        """The objective's value, with the gradient of the weighted scores; times the processes, which average."""
        step, rows, num_groups = self._step_weights, inputs.rows, self._groups_in_step()
        forwards = [self._scores_and_terms(model, batch) for batch in inputs.batches]
        scores = torch.cat([scores for scores, _ in forwards])  # (B,)
        terms = torch.stack([terms for _, terms in forwards]).sum()
        weights, shares = self._weights_of(rows, scores)
        surrogate = (weights * scores).sum()
        value = surrogate - surrogate.detach() + shares.sum()
        loss = (value + terms / step.labels.size(1)) / num_groups
        self._step_metrics.add(
            loss=loss,
            policy_loss=shares.sum() / num_groups,
            **score_sums(scores.detach(), step.pick(rows, step.labels, torch.nan), weights, self.args.tau),
        )
        if self.model.training and self.accelerator.sync_gradients:
            self._log_step()
        return loss * self.accelerator.num_processes

    def _scores_and_terms(self, model: Any, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward: scores (B,), and the sum over its rollouts of what was added to the objective."""
        logps, entropies, balance = self._forward_for_loss(model, batch)
        old_logps = logps.detach() if self._step_weights.on_policy else batch.padded("old_per_token_logps")
        if self._step_weights.on_policy and self.num_iterations > 1 and self.model.training:
            batch.store("old_per_token_logps", logps)
        terms, sums = self._regularizers.terms(batch, logps, old_logps, entropies, balance, self._entropy_weight())
        self._step_metrics.add(
            kl_old=(per_token_kl(old_logps, logps) * batch.mask).sum(),
            entropy=(entropies * batch.mask).sum(),
            tokens=batch.mask.sum(),
            **sums,
        )
        return sequence_scores(logps, old_logps, batch.mask), terms

    def _groups_in_step(self) -> float:
        """Groups over which the loss is a mean: the evaluation set's or the step's; an epoch's last has fewer."""
        if not self.model.training:
            return self._validation.prompts
        rows = self.args.per_device_train_batch_size * self.accelerator.num_processes
        return self.current_gradient_accumulation_steps * rows / self.num_generations

    def _forward_for_loss(
        self, model: Any, batch: MicroBatch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and entropies (B, C); with an auxiliary loss, the balance loss of every rollout (B,)."""
        if not self.aux_loss_enabled:
            return *self._forward(model, batch, compute_entropy=True), None
        config = self.model.config.get_text_config()
        with capture_router_logits(self.model) as captured:
            logps, entropies = self._forward(model, batch, compute_entropy=True, compute_aux_loss=True)
        return logps, entropies, balance_losses(captured[0], batch, config.num_experts, config.num_experts_per_tok)

    # ---- metrics ----------------------------------------------------------------------------------------------------

    def _step_means(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics and histograms of the objective over an optimizer step, or over an evaluation set."""
        metrics, histograms = self._step_metrics.flush(self.accelerator)
        if not self._trains_every_rollout:
            del metrics["policy_loss"]
        return metrics, histograms

    def _log_step(self) -> None:
        """Log the optimizer step that ends, and let the entropy controller react to it."""
        metrics, histograms = self._step_means()
        if self._drift_watch and (warning := self._drift_watch.warning(metrics)):
            logger.warning(warning)
        self._histograms.add(histograms)
        del metrics["loss"]  # logged by Transformers
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)
        if self._entropy_bonus_enabled:
            if self.use_adaptive_entropy and "entropy" in metrics:
                self._adapt_entropy_coef(metrics["entropy"])
            self._metrics["train"]["entropy_coef"].append(self.entropy_coef)

    def _entropy_weight(self) -> float:
        """Coefficient of the entropy bonus in this step."""
        if self.use_adaptive_entropy and self._last_world_entropy > self.args.entropy_target:
            return 0.0
        return self.entropy_coef

    def _adapt_entropy_coef(self, entropy: float) -> None:
        """TRL's controller: raise the coefficient while the entropy is at or below the target, lower it above."""
        args = self.args
        if entropy <= args.entropy_target:
            self.entropy_coef = min(self.entropy_coef + args.entropy_coef_delta, args.entropy_coef_max)
        else:
            self.entropy_coef = max(self.entropy_coef - args.entropy_coef_delta, args.entropy_coef_min)
        self._last_world_entropy = entropy

    def _whole_set_metrics(self) -> dict[str, float]:
        return super()._whole_set_metrics() | self._step_means()[0]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        if self.model.training:  # trackers take numbers only, so the lists join the record after they saw it
            self.state.log_history[-1].update(self._histograms.take())
