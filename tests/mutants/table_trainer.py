"""Mutants of trl_real/trainer."""

from .mutant import Mutant
from .table_update import PACKING, oracle


FORWARDS = "tests/trainer/test_exactness.py -k forwards_without_gradient"
RESUME = "tests/drop_in/test_resume.py"
TWO = "tests/trainer/test_two_processes.py"


def trainer(claim: str, old: str, new: str, tests: str, survives: str | None = None) -> Mutant:
    return Mutant(claim, "trainer", old, new, tests, survives)


MUTANTS = [
    # loss
    trainer(
        "a short last window is divided by a full step's groups",
        "return trainer.current_gradient_accumulation_steps *",
        "return trainer.args.gradient_accumulation_steps *",
        oracle("window"),
    ),
    trainer(
        "KL, entropy and balance terms not divided by G",
        "terms / step.labels.size(1)",
        "terms",
        oracle("entropy and bonus"),
    ),
    trainer(
        "KL, entropy and balance terms divided by the rows of the micro-step",
        "terms / step.labels.size(1)",
        "terms / len(rows)",
        oracle("entropy and bonus"),
    ),
    trainer(
        "the gradient has the wrong sign",
        "surrogate - surrogate.detach() + shares.sum()",
        "surrogate.detach() - surrogate + shares.sum()",
        oracle("real"),
    ),
    trainer(
        "the loss that is reported is the surrogate's",
        "surrogate - surrogate.detach() + shares.sum()",
        "surrogate",
        oracle("real"),
    ),
    trainer(
        "the mean over processes is not undone",
        "return loss * self.trainer.accelerator.num_processes",
        "return loss",
        TWO,
    ),
    trainer(
        "policy_loss without its mean",
        "policy_loss=shares.sum() / num_groups",
        "policy_loss=shares.sum()",
        oracle("entropy and bonus"),
    ),
    trainer(
        "an evaluation loss over the prompts of a batch",
        "return trainer.validation.prompts",
        "return trainer.validation.prompts_in_batch",
        "tests/trainer/test_trainer.py -k evaluation_loss",
    ),
    trainer(
        "kl_old in the other direction",
        "kl_old=per_token_kl(old_logps, logps)",
        "kl_old=per_token_kl(logps, old_logps)",
        oracle("real"),
    ),
    trainer(
        "rollouts without gradient are run for the terms in any case",
        'regularized and args.regularize == "all"',
        "regularized",
        oracle("trained"),
    ),
    trainer(
        "every step is on policy",
        "self.trainer.state.global_step == generation.policy_version,",
        "True,",
        oracle("real"),
    ),
    trainer("weights of part of a group", "elif not plan.whole_groups:", "elif False:", oracle("real")),
    trainer(
        "scores of the last forward only",
        "scores += self.step.spread(",
        "scores = self.step.spread(",
        oracle("real"),
    ),
    trainer(
        "terms act on mixed groups only",
        "return counts[:, -1] > 0 if self.trains_every_rollout else",
        "return",
        oracle("entropy and bonus"),
    ),
    trainer(
        "rollouts without a token that counts are run",
        "return counts[:, -1] > 0 if",
        "return counts[:, -1] >= 0 if",
        oracle("truncated"),
    ),
    trainer(
        "the reference model is the policy",
        "return self._run(self.trainer.ref_model, batch)[0]",
        "return self._run(self.trainer.model, batch)[0]",
        oracle("kl and reference"),
    ),
    trainer(
        "the balance loss is not added",
        "self.router_aux_loss_coef if self.aux_loss_enabled else 0.0",
        "0.0",
        oracle("experts"),
    ),
    # entropy controller
    trainer(
        "the adaptive entropy controller is reversed",
        "if entropy <= args.entropy_target:",
        "if entropy > args.entropy_target:",
        oracle("adaptive"),
    ),
    trainer(
        "the bonus acts above the target",
        "trainer._last_world_entropy > trainer.args.entropy_target",
        "trainer._last_world_entropy <= trainer.args.entropy_target",
        oracle("adaptive"),
    ),
    trainer(
        "the entropy coefficient has no upper end",
        "min(trainer.entropy_coef + args.entropy_coef_delta, args.entropy_coef_max)",
        "trainer.entropy_coef + args.entropy_coef_delta",
        oracle("adaptive"),
    ),
    trainer(
        "the entropy coefficient has no lower end",
        "max(trainer.entropy_coef - args.entropy_coef_delta, args.entropy_coef_min)",
        "trainer.entropy_coef - args.entropy_coef_delta",
        oracle("adaptive"),
    ),
    trainer("the bonus waits for ever", "trainer._last_world_entropy = entropy", "pass", oracle("adaptive")),
    # generations
    trainer(
        "a generation is used once",
        "% (self.args.steps_per_generation * self.num_iterations) == 0",
        "% self.args.steps_per_generation == 0",
        oracle("twice"),
    ),
    trainer(
        "old log-probabilities of the first step of a generation used twice are not kept",
        "if self.step.on_policy and self.trainer.num_iterations > 1 and self.trainer.model.training:",
        "if False:",
        oracle("twice"),
    ),
    trainer(
        "old log-probabilities are computed for the first step too",
        "if step != first_step and not known:",
        "if True:",
        FORWARDS,
    ),
    trainer(
        "old log-probabilities missing after resuming inside a generation that is used twice",
        "start = first_step if self.trainer.num_iterations == 1 else 0",
        "start = first_step",
        f"{RESUME} -k twice",
    ),
    trainer(
        "the step after a generation is planned as if its weights were unknown",
        "on_policy_step=first_step if self.trainer.num_iterations == 1 else None",
        "on_policy_step=None",
        FORWARDS,
        "only memory and forwards change: groups stay whole in more micro-steps",
    ),
    trainer(
        "the last backward of a step without rows is skipped",
        "if not forwards and self.accelerator.sync_gradients:",
        "if False:",
        "tests/trainer/test_trainer.py -k optimizers_step",
    ),
    # resuming
    trainer(
        "resuming restarts at micro-step 0",
        "0 if args.ignore_data_skip else steps * accumulation",
        "0",
        "tests/trainer/test_trainer.py -k resuming_inside",
    ),
    trainer(
        "ignore_data_skip is ignored",
        "0 if args.ignore_data_skip else steps * accumulation",
        "steps * accumulation",
        f"{RESUME} -k data_skip",
    ),
    trainer(
        "the first epoch's permutation after resuming",
        "skip_permutations(self._train_sampler, epochs)",
        "pass",
        f"{RESUME} -k between",
    ),
    trainer(
        "labels that were taken count in their group all the same",
        "generation = share_out(list(generation.rollouts.values()), believed)",
        "pass",
        "tests/trainer/test_oracle.py -k mismatch",
    ),
    trainer(
        "ratios stay on their process",
        'ratios = self.trainer.accelerator.reduce(ratios, reduction="sum")',
        "pass",
        "tests/trainer/test_distributed.py -k two_processes",
    ),
    trainer(
        "images beside a packed forward are no matter",
        "packs = self.packs and not any(map(_has_images, [*rollouts, *beside]))",
        "packs = self.packs",
        "tests/drop_in/test_images.py -k until_some",
    ),
    # packing and processes
    trainer(
        "the packing trial's verdict is not gathered",
        "accelerator.gather(torch.tensor([reason is None], device=accelerator.device)).all().item()",
        "reason is None",
        TWO,
    ),
    trainer(
        "the trial's verdict is not asked for",
        "return False if self.why_padded else None",
        "return False if self.why_padded else True",
        f"{PACKING} -k found_out",
    ),
    trainer(
        "pack_rollouts=True does not mind the model",
        "if args.pack_rollouts and self.why_padded:",
        "if False:",
        f"{PACKING} -k impossible",
    ),
    trainer(
        "attention of the recomputed forward is over all rows",
        "return self._attention(self.trainer.model, micro_step.batches[0])",
        "return nullcontext()",
        f"{PACKING} -k recomputes",
    ),
    trainer(
        "the trial of shared prompts always passes",
        "return bool((change.max() if exact else change.mean()) <= tolerance)",
        "return True",
        "tests/step/test_prefixes.py -k found_out",
    ),
    trainer(
        "the attention is not told of prefixes",
        "if isinstance(batch, SharedBatch):",
        "if False:",
        "tests/trainer/test_savings.py -k 'something and once'",
    ),
]
