"""Every optimizer step of REALTrainer is the one that the formulas give: value, gradient and metrics, in float64.

The trainer takes plain SGD steps without clipping, so what the parameters moved by, over the learning rate, is the
gradient with its scale, which AdamW and clipping would hide.
"""

import math
from contextlib import nullcontext
from dataclasses import fields
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import nn
from transformers import TrainerCallback

from tests.support.cuts import GROUP, trainer_for
from tests.support.tiny import (
    fixed_completion,
    fixed_reward,
    graded_reward,
    prompts_dataset,
    tiny_model,
    tiny_moe,
    tiny_tokenizer,
)
from tests.trainer.oracle import AdaptiveEntropy, Sample, StepOracle, Terms, compare, forward, gradient, trained


LEARNING_RATE = 0.1
SGD = dict(optim="sgd", max_grad_norm=0.0, learning_rate=LEARNING_RATE)
KL = dict(beta=3.0, kl_target="old")
ADAPTIVE = dict(use_adaptive_entropy=True, entropy_coef=0.2, entropy_coef_delta=0.15, entropy_coef_max=0.4)

CUT = ("batch", "env_mask", "lora", "moe")
METRICS = {"loss", "policy_loss", "kl", "kl_old", "entropy", "entropy_coef", "aux_loss", "trained/rollouts"}
METRICS |= {"scores/abs_mean", "scores/positive_mean", "scores/negative_mean", "weights/mean", "weights/max"}
METRICS |= {f"groups/{kind}" for kind in ("all_correct", "all_incorrect", "mixed", "unlabelled")}
METRICS |= {f"mismatch/{kind}" for kind in ("token_mean", "token_max", "sequence_mean", "sequence_max", "dropped")}
METRICS |= {"trained/tokens"}

CASES: dict[str, dict[str, Any]] = {
    "real": {},
    "no anchor": dict(options=dict(loss_type="real_no_anchor")),
    "bce": dict(options=dict(loss_type="bce")),
    "one-class groups kept": dict(options=dict(degenerate_groups="keep")),
    "no anchor, one-class groups kept": dict(options=dict(loss_type="real_no_anchor", degenerate_groups="keep")),
    "bce, one-class groups kept": dict(options=dict(loss_type="bce", degenerate_groups="keep")),
    "tau and temperature": dict(options=dict(tau=0.2, temperature=0.6)),
    "clipped scores": dict(batch=4, options=dict(score_clip=0.02)),
    "padded, with a tool mask": dict(env_mask=True, options=dict(pack_rollouts=False, **KL, entropy_coef=0.5)),
    "tool mask": dict(env_mask=True, options=dict(**KL, entropy_coef=0.5)),
    "truncated completions masked": dict(options=dict(mask_truncated_completions=True, **KL, entropy_coef=0.5)),
    "truncated completions masked, no terms": dict(options=dict(mask_truncated_completions=True)),
    "kl to the old policy": dict(options=KL | dict(use_bias_correction_kl=False)),
    "kl to the old policy, bias-corrected": dict(options=KL | dict(use_bias_correction_kl=True)),
    "kl to a reference model": dict(saved=True, options=dict(beta=1.0, use_bias_correction_kl=False)),
    "kl to a reference model, bias-corrected": dict(saved=True, options=dict(beta=1.0, use_bias_correction_kl=True)),
    "kl to the model without its adapter": dict(lora=True, options=dict(beta=0.2, use_bias_correction_kl=False)),
    "the same, bias-corrected": dict(lora=True, options=dict(beta=0.2, use_bias_correction_kl=True)),
    "entropy bonus": dict(options=dict(entropy_coef=0.5)),
    "adaptive entropy below its target": dict(options=ADAPTIVE | dict(entropy_target=5.0)),
    "adaptive entropy above its target": dict(options=ADAPTIVE | dict(entropy_target=0.5, entropy_coef_min=0.1)),
    "adaptive entropy around its target": dict(options=ADAPTIVE | dict(entropy_target=3.315)),
    "terms on trained rollouts only": dict(options=KL | dict(entropy_coef=0.5, regularize="trained")),
    "adapter's kl on trained rollouts only": dict(lora=True, options=dict(beta=0.2, regularize="trained")),
    "labels by rank": dict(
        graded=True, options=dict(label_func="docs.examples.own_objective:quarters", num_generations=4)
    ),
    "a limit to the mismatch": dict(options=dict(mismatch_limit=150.0)),
    "a limit to the mismatch, padded, with a tool mask": dict(
        batch=4, env_mask=True, options=dict(pack_rollouts=False, loss_type="bce", mismatch_limit=150.0)
    ),
    "a limit to the mismatch, with terms": dict(options=dict(**KL, mismatch_limit=150.0)),
    "a limit to the mismatch of a generation used twice": dict(
        iterations=2, options=dict(num_iterations=2, mismatch_limit=150.0)
    ),
    "mixture of experts, trained rollouts only": dict(moe=True, options=dict(regularize="trained")),
    "mixture of experts": dict(moe=True),
    "balance loss of a given weight": dict(moe=True, options=dict(router_aux_loss_coef=1.5)),
    "mixture of experts, truncated completions masked": dict(moe=True, options=dict(mask_truncated_completions=True)),
    "generation used twice": dict(iterations=2, options=dict(num_iterations=2)),
    "generation used twice, with terms": dict(iterations=2, options=dict(num_iterations=2, **KL, entropy_coef=0.5)),
    "custom loss of all pairs": dict(options=dict(loss_type="docs.examples.own_objective:all_pairs")),
    "custom loss with label smoothing": dict(options=dict(loss_type="docs.examples.own_objective:smoothed")),
    "custom loss that trains one class": dict(options=dict(loss_type="tests.objective.test_own:every_class")),
    "short last window": dict(window=True),
    "short last window, with terms": dict(window=True, options=dict(**KL, entropy_coef=0.5)),
    "short last window of a mixture of experts": dict(window=True, moe=True),
}


def ranked(group: list[Sample]) -> list[Sample]:
    """Samples whose label is a grade get one by rank: the best quarter correct, the worst incorrect, others none."""
    grades = sorted(sample.label for sample in group if not math.isnan(sample.label))
    quarter = max(len(group) // 4, 1)
    worst, best = (grades[quarter - 1], grades[-quarter]) if len(grades) >= quarter else (0.0, 0.0)
    for sample in group:
        kind = 1.0 if sample.label >= best else 0.0 if sample.label <= worst else math.nan
        sample.label = kind if best > worst else math.nan
    return group


class Recorder(TrainerCallback):
    """Trains a case; keeps the parameters around every optimizer step, and the rollouts of every generation."""

    def __init__(self, case: dict[str, Any], folder: Any):
        self.before: list[dict[str, torch.Tensor]] = []
        self.after: list[dict[str, torch.Tensor]] = []
        self.generations: list[list[list[Sample]]] = []
        self.versions: list[int] = []  # the step in which each was generated
        window = dict(prompts=10, accumulation=8, per_generation=4, max_steps=-1) if case.get("window") else {}
        options = SGD | case.get("options", {}) | (dict(num_train_epochs=1) if window else {})
        cut = dict(batch=2, steps=2, max_steps=4) | window | {k: v for k, v in case.items() if k in CUT}
        if case.get("saved"):
            tiny_model().save_pretrained(folder)
            cut["path"] = str(folder)
        self.case, self.trainer = case, trainer_for(cut | dict(options=options), reward_func=self.fixed_reward)
        self.trainer.add_callback(self)
        self.trainer.train()
        self.log = [entry for entry in self.trainer.state.log_history if "loss" in entry]

    def fixed_reward(self, prompts: list[str], completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
        rewards = graded_reward(prompts, completion_ids) if self.case.get("graded") else None
        rewards = rewards or fixed_reward(prompts, completion_ids)
        samples = [self.sample(*row) for row in zip(prompts, completion_ids, rewards, strict=True)]
        groups = [samples[at : at + GROUP] for at in range(0, len(samples), GROUP)]
        if self.case.get("graded"):
            groups = [ranked(group) for group in groups]
        self.generations.append(groups)
        self.versions.append(len(self.before) - 1)
        return rewards

    def sample(self, prompt: str, completion: list[int], reward: float | None) -> Sample:
        counted = [not self.case.get("env_mask") or token % 3 > 0 for token in completion]
        if self.case.get("options", {}).get("mask_truncated_completions") and completion[-1] != 1:
            counted = [False] * len(completion)
        label = math.nan if reward is None or not any(counted) else reward
        return Sample(tiny_tokenizer()(prompt)["input_ids"], list(completion), counted, label)

    def parameters(self) -> dict[str, torch.Tensor]:
        return {n: p.detach().double().clone() for n, p in self.trainer.model.named_parameters() if p.requires_grad}

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.before.append(self.parameters())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.after.append(self.parameters())

    def steps(self) -> list[list[list[list[Sample]]]]:
        """For every optimizer step, the parts of generations that it trains on."""
        if self.case.get("window"):  # two generations of 2 groups in a step, one in the last of an epoch of 10 prompts
            return [self.generations[0:2], self.generations[2:4], self.generations[4:5]]
        halves = [[generation[:4], generation[4:]] * self.case.get("iterations", 1) for generation in self.generations]
        return [[half] for generation in halves for half in generation]


COPIES: dict[str, nn.Module] = {}  # what `reference_model` has made


def reference_model(recorder: Recorder) -> nn.Module:
    """The same architecture in float64, without anything that the trainer did to its own."""
    case = recorder.case
    kind = "lora" if case.get("lora") else "moe" if case.get("moe") else "plain"
    if kind not in COPIES:
        model = tiny_moe() if kind == "moe" else tiny_model()
        if kind == "lora":
            model = get_peft_model(model, recorder.trainer.model.peft_config["default"])
        model.config._experts_implementation = "eager"  # the default has no float64
        COPIES[kind] = model.double().eval()
    return COPIES[kind]


def terms_of(case: dict[str, Any]) -> Terms:
    names = {field.name for field in fields(Terms)}
    coefficient = dict(router_aux_loss_coef=tiny_moe().config.router_aux_loss_coef) if case.get("moe") else {}
    return Terms(**coefficient | {name: value for name, value in case.get("options", {}).items() if name in names})


def remember_logps(recorder: Recorder, model: nn.Module, terms: Terms) -> None:
    """Log-probabilities under the policy that generated, and under the reference: the start, or no adapter."""
    with torch.no_grad():
        for version, generation in zip(recorder.versions, recorder.generations, strict=True):
            model.load_state_dict(recorder.before[version], strict=False)
            for sample in (sample for group in generation for sample in group):
                sample.old = forward(model, sample, terms.temperature)[0]
            for group in generation if terms.mismatch_limit else ():
                compare(group, terms)
        model.load_state_dict(recorder.before[0], strict=False)
        with model.disable_adapter() if recorder.case.get("lora") else nullcontext():
            for sample in (sample for generation in recorder.generations for group in generation for sample in group):
                sample.ref = forward(model, sample, terms.temperature)[0]


def generation_metrics(generations: list[list[list[Sample]]], terms: Terms) -> dict[str, float]:
    """Mean over the generations that were made in a step."""
    found: dict[str, list[float]] = {}
    for groups in generations:
        kinds = {"all_correct": {1.0}, "all_incorrect": {0.0}, "mixed": {0.0, 1.0}, "unlabelled": set()}
        classes = [{sample.label for sample in group if not math.isnan(sample.label)} for group in groups]
        for name, kind in kinds.items():
            found.setdefault(f"groups/{name}", []).append(classes.count(kind) / len(groups))
        runs = [(sample, run) for group in groups for sample, run in zip(group, trained(group, terms), strict=True)]
        tokens = sum(len(sample.positions) for sample, _ in runs)
        if terms.mismatch_limit:
            samples = [sample for sample, _ in runs]
            asked = max(sum(sample.asked for sample in samples), 1)
            found.setdefault("mismatch/dropped", []).append(sum(sample.dropped for sample in samples) / asked)
        found.setdefault("trained/rollouts", []).append(sum(run for _, run in runs) / len(runs))
        found.setdefault("trained/tokens", []).append(sum(len(s.positions) for s, run in runs if run) / tokens)
    return {name: sum(values) / len(values) for name, values in found.items()}


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_that_of_the_formulas(name, tmp_path):
    recorder, terms = Recorder(CASES[name], tmp_path), terms_of(CASES[name])
    model, controller, steps = reference_model(recorder), AdaptiveEntropy(terms), recorder.steps()
    remember_logps(recorder, model, terms)
    assert len(recorder.log) == len(recorder.before) == len(steps)
    for at, parts in enumerate(steps):
        model.load_state_dict(recorder.before[at], strict=False)
        oracle = StepOracle(model, [group for part in parts for group in part], terms, controller.weight)
        expected = oracle.metrics()
        for parameter, slope in gradient(model, oracle.loss).items():
            moved = (recorder.before[at][parameter] - recorder.after[at][parameter]) / LEARNING_RATE
            torch.testing.assert_close(moved, slope, rtol=1e-4, atol=2e-5, msg=f"{parameter}, step {at}")
        if terms.use_adaptive_entropy:
            controller.observe(expected["entropy"])
        if terms.entropy_coef or terms.use_adaptive_entropy:
            expected["entropy_coef"] = controller.coefficient
        generated = [g for version, g in zip(recorder.versions, recorder.generations, strict=True) if version == at]
        expected |= generation_metrics(generated, terms)
        logged = {metric: value for metric, value in recorder.log[at].items() if metric in METRICS}
        assert logged == pytest.approx(expected, rel=1e-4, abs=1e-5), at


@pytest.mark.parametrize("name", ["kl to the model without its adapter", "entropy bonus", "mixture of experts"])
def test_an_evaluation_is_that_of_the_formulas(name, tmp_path):
    """Fresh rollouts of the whole set; the last batch is filled up with prompts that must not count."""
    case = CASES[name] | dict(options=CASES[name].get("options", {}) | dict(per_device_eval_batch_size=8))
    recorder, terms = Recorder(case, tmp_path), terms_of(case)
    recorder.trainer.model.load_state_dict(recorder.before[0], strict=False)
    found = recorder.trainer.evaluate(prompts_dataset(5))
    groups = []
    for prompt in prompts_dataset(5)["prompt"]:
        completions = [fixed_completion(prompt, index) for index in range(GROUP)]
        rewards = fixed_reward([prompt] * GROUP, completions)
        groups.append([recorder.sample(prompt, *row) for row in zip(completions, rewards, strict=True)])
    recorder.generations, recorder.versions = [groups], [0]
    model = reference_model(recorder)
    remember_logps(recorder, model, terms)
    expected = StepOracle(model, groups, terms, terms.entropy_coef).metrics()
    logged = {metric: found[f"eval_{metric}"] for metric in expected}
    assert logged == pytest.approx(expected, rel=1e-4, abs=1e-5)
