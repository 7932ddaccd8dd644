"""Mutants of trl_real/trainer."""

from .mutant import Mutant
from .table_step import REENTRANT, oracle


RESUME = "tests/drop_in/test_resume.py"


def trainer(claim: str, old: str, new: str, tests: str) -> Mutant:
    return Mutant(claim, "trainer", old, new, tests)


MUTANTS = [
    # the step's settings
    trainer(
        "a short last window is divided by a full step's groups",
        "return self.current_gradient_accumulation_steps *",
        "return self.args.gradient_accumulation_steps *",
        oracle("window"),
    ),
    trainer(
        "an evaluation loss over the prompts of a batch",
        "return self.validation.prompts\n",
        "return self.validation.prompts_in_batch\n",
        "tests/trainer/test_trainer.py -k evaluation_loss",
    ),
    trainer(
        "rollouts without gradient are run for the terms in any case",
        'regularized and args.regularize == "all"',
        "regularized",
        oracle("trained"),
    ),
    trainer(
        "the balance loss is not added",
        "trainer.router_aux_loss_coef if trainer.aux_loss_enabled else 0.0",
        "0.0",
        oracle("experts"),
    ),
    # functions of one's own
    trainer(
        "an evaluation has the labels of training",
        "replace(self._train_rule, label_func=None)",
        "self._train_rule",
        "tests/trainer/test_own_objective.py -k evaluation",
    ),
    trainer(
        "a loss of one's own is not tried",
        'check_group_loss(load_function("loss_type", self.loss_type), size)',
        "pass",
        "tests/trainer/test_own_objective.py -k sizes",
    ),
    trainer(
        "a path is no loss of one's own",
        'return callable(self.loss_type) or (isinstance(self.loss_type, str) and ":" in self.loss_type)',
        "return callable(self.loss_type)",
        "tests/trainer/test_own_objective.py -k would_be_seen",
    ),
    trainer(
        "the warning of drift has its limits for a loss of one's own",
        " and args.loss_type in LOSS_TYPES",
        "",
        "tests/metrics/test_drift.py -k told_so",
    ),
    # reentrant checkpointing
    trainer(
        "DDP looks for unused parameters under reentrant checkpointing",
        "args.ddp_find_unused_parameters = False",
        "pass",
        REENTRANT,
    ),
    trainer(
        "TRL does not hear of reentrant checkpointing by its present name",
        'vars(args)["activation_checkpointing_kwargs"] = args.gradient_checkpointing_kwargs',
        "pass",
        "tests/settings",
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
        "self._last_world_entropy > self.args.entropy_target",
        "self._last_world_entropy <= self.args.entropy_target",
        oracle("adaptive"),
    ),
    trainer(
        "the entropy coefficient has no upper end",
        "min(self.entropy_coef + args.entropy_coef_delta, args.entropy_coef_max)",
        "self.entropy_coef + args.entropy_coef_delta",
        oracle("adaptive"),
    ),
    trainer(
        "the entropy coefficient has no lower end",
        "max(self.entropy_coef - args.entropy_coef_delta, args.entropy_coef_min)",
        "self.entropy_coef - args.entropy_coef_delta",
        oracle("adaptive"),
    ),
    trainer("the bonus waits for ever", "self._last_world_entropy = entropy", "pass", oracle("adaptive")),
    # generations and evaluations
    trainer(
        "an evaluation counts what a failed one left",
        "self._phase.start_evaluation()",
        "pass",
        "tests/validation/test_validation.py -k failed_leaves",
    ),
    trainer(
        "a generation is used once",
        "% (per_generation * self.num_iterations) == 0",
        "% per_generation == 0",
        oracle("twice"),
    ),
    trainer(
        "hooks of gradient checkpointing pile up",
        "with without_checkpointing(self.model):",
        "if True:",
        "tests/engines/test_checkpointing.py -k pile_up",
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
        "the layout is not in the checkpoint",
        "cast(dict[str, Any], self.state.stateful_callbacks).update(self._phase.choice.decided)",
        "pass",
        "tests/step/test_trial.py -k keeps_its_layout",
    ),
]
