"""Mutants of trl_real/step: rollouts, planning, loss, added terms, metrics."""

from .mutant import Mutant


ORACLE = "tests/trainer/test_oracle.py"
REGULARIZERS = "tests/step/test_regularizers.py"
MISMATCH = "tests/step/test_mismatch.py"
REENTRANT = "tests/trainer/test_reentrant.py"
FORWARDS = "tests/trainer/test_exactness.py -k forwards_without_gradient"
TWO = "tests/trainer/test_two_processes.py"


def step(claim: str, old: str, new: str, tests: str, survives: str | None = None) -> Mutant:
    return Mutant(claim, "step", old, new, tests, survives)


def oracle(cases: str) -> str:
    """The cases of the oracle with these words in their names."""
    return f"{ORACLE} -k '{cases}'"


MUTANTS = [
    # rollouts
    step(
        "the tool mask is ignored",
        'batch["completion_mask"] * batch["tool_mask"] if',
        'batch["completion_mask"] if',
        oracle("tool"),
    ),
    step(
        "every token of a completion counts for its label",
        "torch.stack([rollout.mask.sum() for",
        "torch.stack([torch.ones_like(rollout.mask).sum() for",
        "tests/step/test_rollouts.py",
    ),
    step(
        "a truncated completion loses the places of its images",
        'batch["completion_ids"].size(1) if vision else 1',
        "1",
        "tests/step/test_rollouts.py",
    ),
    step(
        "the key of a prompt depends on its padding",
        "_key(prompts[index, width - prompt :])",
        "_key(prompts[index])",
        "tests/step/test_rollouts.py",
    ),
    # planning
    step(
        "rollouts without gradient are run",
        "else self.objective.informative(labels).flatten()",
        "else ~labels.isnan().flatten()",
        oracle("real"),
    ),
    step(
        "terms act on mixed groups only",
        "return counts[:, -1] > 0 if every else",
        "return",
        oracle("entropy and bonus"),
    ),
    step(
        "rollouts without a token that counts are run",
        "return counts[:, -1] > 0 if",
        "return counts[:, -1] >= 0 if",
        oracle("truncated"),
    ),
    step(
        "old log-probabilities are computed for the first step too",
        "if step != first_step and not known:",
        "if True:",
        FORWARDS,
    ),
    step(
        "old log-probabilities missing after resuming inside a generation that is used twice",
        "start = first_step if self.settings.num_iterations == 1 else 0",
        "start = first_step",
        "tests/drop_in/test_resume.py -k twice",
    ),
    step(
        "the step after a generation is planned as if its weights were unknown",
        "on_policy_step = first_step if settings.num_iterations == 1 else None",
        "on_policy_step = None",
        FORWARDS,
        "only memory and forwards change: groups stay complete in more micro-steps",
    ),
    step(
        "dropped labels count in their group all the same",
        "generation = share_out(list(generation.rollouts.values()), kept)",
        "pass",
        oracle("mismatch"),
    ),
    step(
        "ratios stay on their process",
        "ratios = summed(self.forwards.accelerator, ratios)",
        "pass",
        "tests/trainer/test_distributed.py -k 'two_processes and mismatch'",
    ),
    # generation
    step(
        "a step takes the first groups' labels",
        "labels = self.labels[plan.groups.start : plan.groups.stop]",
        "labels = self.labels[: len(plan.groups)]",
        oracle("real"),
    ),
    step(
        "no filler on a process without rows",
        "or [self.filler] for forward in forwards]",
        "for forward in forwards if forward[self.process]]",
        TWO,
    ),
    step(
        "the last backward of a step without rows is skipped",
        "if not forwards and last:",
        "if False:",
        "tests/trainer/test_trainer.py -k optimizers_step",
    ),
    # forwards
    step(
        "the reference model is the policy",
        "self._run(self.reference, batch).log_probs",
        "self._run(self.policy, batch).log_probs",
        oracle("kl and reference"),
    ),
    step(
        "old log-probabilities keep a graph",
        "row[: len(rollout.completion_ids)].detach())",
        "row[: len(rollout.completion_ids)])",
        oracle("twice"),
    ),
    step(
        "scores are computed with checkpointing",
        "with without_checkpointing(self.forwards.policy):\n                self._score",
        "if True:\n                self._score",
        "tests/engines/test_checkpointing.py -k without_it",
    ),
    step(
        "old log-probabilities are computed with checkpointing",
        "with without_checkpointing(self.forwards.policy):\n            plan",
        "if True:\n            plan",
        "tests/engines/test_checkpointing.py -k without_it",
    ),
    step(
        "an evaluation does not compare with the reference",
        "            self.planner.remember_reference(batch)\n",
        "            pass\n",
        oracle("evaluation and adapter"),
    ),
    # loss
    step(
        "every step is on policy",
        "policy_version == generation.policy_version, self._training",
        "True, self._training",
        oracle("real"),
    ),
    step("weights of part of a group", "elif not generation.plans[step].whole_groups:", "elif False:", oracle("real")),
    step(
        "scores of the last forward only",
        "scores += self.step.spread(",
        "scores = self.step.spread(",
        oracle("real"),
    ),
    step(
        "old log-probabilities of the first step of a generation used twice are not kept",
        "if self.step.on_policy and self.settings.num_iterations > 1 and self.training:",
        "if False:",
        oracle("twice"),
    ),
    step(
        "the gradient has the wrong sign",
        "surrogate - surrogate.detach() + shares.sum()",
        "surrogate.detach() - surrogate + shares.sum()",
        oracle("real"),
    ),
    step(
        "the loss that is reported is the surrogate's",
        "surrogate - surrogate.detach() + shares.sum()",
        "surrogate",
        oracle("real"),
    ),
    step(
        "the mean over processes is not undone",
        "return loss * self.forwards.accelerator.num_processes",
        "return loss",
        TWO,
    ),
    step(
        "KL, entropy and balance terms not divided by G",
        "terms / step.labels.size(1)",
        "terms",
        oracle("entropy and bonus"),
    ),
    step(
        "KL, entropy and balance terms divided by the rows of the micro-step",
        "terms / step.labels.size(1)",
        "terms / len(rows)",
        oracle("entropy and bonus"),
    ),
    # backwards of their own
    step(
        "several forwards share a backward under reentrant checkpointing",
        "one_forward_per_backward(self.forwards.accelerator, self.forwards.policy)",
        "False",
        REENTRANT,
    ),
    step(
        "the plan knows of backwards that the micro-step does not make",
        "if self.one_per_backward else [self]",
        "if False else [self]",
        REENTRANT,
    ),
    step(
        "the loss of forwards with backwards of their own is not reported",
        "return sum(done, loss(last))",
        "return loss(last)",
        REENTRANT,
    ),
    step(
        "a balance loss without a gradient is trained on",
        "if torch.is_grad_enabled() and not captured[0][-1].requires_grad and",
        "if False and",
        f"{REENTRANT} -k refused",
    ),
    # terms
    step(
        "KL arguments swapped",
        "difference = target_per_token_logps - per_token_logps",
        "difference = per_token_logps - target_per_token_logps",
        oracle("kl and adapter"),
    ),
    step(
        "KL without its last term",
        "return difference.exp() - difference - 1",
        "return difference.exp() - difference",
        oracle("kl and adapter"),
    ),
    step(
        "KL to the other target",
        'if regularizers.kl_target == "old" else',
        'if regularizers.kl_target == "ref" else',
        oracle("kl and reference"),
    ),
    step(
        "the KL's weight is dropped",
        "regularizers.beta * rollout_means(kl, batch.mask).sum()",
        "rollout_means(kl, batch.mask).sum()",
        oracle("kl and adapter"),
    ),
    step(
        "bias correction inverted",
        "if regularizers.bias_correction:",
        "if not regularizers.bias_correction:",
        oracle("kl and old"),
    ),
    step("bias correction off", "if regularizers.bias_correction:", "if False:", oracle("kl and bias")),
    step(
        "bias correction upside down",
        "kl * (logps - old_logps).exp()",
        "kl * (old_logps - logps).exp()",
        oracle("kl and bias"),
    ),
    step(
        "bias correction without gradient",
        "kl * (logps - old_logps).exp()",
        "kl * (logps - old_logps).exp().detach()",
        oracle("kl and bias"),
    ),
    step(
        "entropy sign flipped",
        "terms = terms - entropy_coef *",
        "terms = terms + entropy_coef *",
        oracle("entropy and bonus"),
    ),
    step(
        "entropy coefficient dropped",
        "terms - entropy_coef * rollout_means",
        "terms - rollout_means",
        oracle("entropy and bonus"),
    ),
    step(
        "MoE coefficient dropped",
        "regularizers.balance_coef * (balance * counted).sum()",
        "(balance * counted).sum()",
        oracle("balance"),
    ),
    step(
        "the balance of rollouts without tokens counts",
        "regularizers.balance_coef * (balance * counted).sum()",
        "regularizers.balance_coef * balance.sum()",
        REGULARIZERS,
    ),
    step(
        "aux_loss averaged over fillers too",
        '"rollouts": counted.sum()',
        '"rollouts": counted.new_tensor(counted.numel(), dtype=torch.int64)',
        REGULARIZERS,
    ),
    step("a term is a mean over the batch's width", "/ mask.sum(-1).clamp(min=1)", "/ mask.size(-1)", oracle("tool")),
    step(
        "a term of a rollout without tokens divides by 0",
        "/ mask.sum(-1).clamp(min=1)",
        "/ mask.sum(-1)",
        REGULARIZERS,
    ),
    step(
        "masked tokens are part of a term",
        "values.masked_fill(mask == 0, 0.0).sum(-1)",
        "values.sum(-1)",
        REGULARIZERS,
    ),
    # metrics
    step(
        "kl is a sum of rollouts' means",
        'sums["kl"] = kl.sum()',
        'sums["kl"] = rollout_means(kl, batch.mask).sum()',
        oracle("kl and adapter"),
    ),
    step("kl averaged over rollouts", '"kl": ("kl", "tokens")', '"kl": ("kl", "labelled")', oracle("kl and adapter")),
    step(
        "kl_old in the other direction",
        "kl_old=per_token_kl(old_logps, logps)",
        "kl_old=per_token_kl(logps, old_logps)",
        oracle("real"),
    ),
    step(
        "kl_old averaged over rollouts",
        '"kl_old": ("kl_old", "tokens")',
        '"kl_old": ("kl_old", "labelled")',
        oracle("real"),
    ),
    step(
        "policy_loss without its mean",
        "policy_loss=shares.sum() / groups",
        "policy_loss=shares.sum()",
        oracle("entropy and bonus"),
    ),
    step(
        "weights/max is the last micro-step's",
        "torch.maximum(self._sums[name], value)",
        "value",
        oracle("anchor or clipped or kept"),
    ),
    step("sums are kept for the next step", "self._sums = {}\n        metrics", "metrics", oracle("real")),
    # mismatch
    step(
        "a token that the sampler did not score has a ratio",
        "known = (mask != 0) & ~sampling_logps.isnan()",
        "known = mask != 0",
        MISMATCH,
    ),
    step(
        "a ratio is that of the whole sequence, not of a token",
        "return ratios.sum(dim=1) / known.sum(dim=1).clamp(min=1)",
        "return ratios.sum(dim=1)",
        MISMATCH,
    ),
    step(
        "a rollout that the sampler liked less is within the band",
        "return ~(log_ratios.abs() <= math.log(limit))",
        "return ~(log_ratios <= math.log(limit))",
        MISMATCH,
    ),
]
