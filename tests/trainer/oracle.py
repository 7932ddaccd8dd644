"""What an optimizer step must be, from the formulas: float64, one rollout after another, no code of the package."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.objective import reference


@dataclass
class Sample:
    """One rollout: tokens, which completion tokens count, label (NaN: none), log-probabilities that do not change."""

    prompt: list[int]
    completion: list[int]
    counted: list[bool]
    label: float
    old: torch.Tensor | None = None
    ref: torch.Tensor | None = None
    asked: bool = False  # whether sampler and trainer were compared,
    dropped: bool = False  # and whether they disagree, so that there is no label
    outputs: Any = None  # of the forward of the current step

    @property
    def positions(self) -> list[int]:
        return [at for at, counts in enumerate(self.counted) if counts]


@dataclass
class Terms:
    """The objective of a step and its terms, under the names of the fields of REALConfig."""

    tau: float = 0.5
    loss_type: str = "real"
    degenerate_groups: str = "drop"
    score_clip: float | None = None
    temperature: float = 1.0
    beta: float = 0.0
    kl_target: str = "ref"
    use_bias_correction_kl: bool = True
    entropy_coef: float = 0.0
    use_adaptive_entropy: bool = False
    entropy_coef_min: float = 0.0
    entropy_coef_max: float = 1.0
    entropy_coef_delta: float = 0.0
    entropy_target: float = 0.0
    router_aux_loss_coef: float = 0.0
    regularize: str = "all"
    mismatch_limit: float | None = None

    @property
    def objective(self) -> dict[str, Any]:
        names = ("tau", "loss_type", "degenerate_groups", "score_clip")
        return {name: getattr(self, name) for name in names}

    @property
    def regularized(self) -> bool:
        bonus = self.entropy_coef != 0 or self.use_adaptive_entropy
        return self.beta != 0 or bonus or self.router_aux_loss_coef != 0


class AdaptiveEntropy:
    """Skywork-OR1's controller as TRL documents it: a bonus while the last step's entropy was at most the target."""

    def __init__(self, terms: Terms):
        self.terms, self.coefficient, self.last = terms, terms.entropy_coef, math.inf

    @property
    def weight(self) -> float:
        if not self.terms.use_adaptive_entropy:
            return self.coefficient
        return self.coefficient if self.last <= self.terms.entropy_target else 0.0

    def observe(self, entropy: float) -> None:
        if self.terms.use_adaptive_entropy:
            step = self.terms.entropy_coef_delta * (1 if entropy <= self.terms.entropy_target else -1)
            moved = self.coefficient + step
            self.coefficient = min(max(moved, self.terms.entropy_coef_min), self.terms.entropy_coef_max)
            self.last = entropy


def trained(group: list[Sample], terms: Terms) -> list[bool]:
    """Which rollouts of a group are run: all that count where every one has a gradient, else those with one."""
    if terms.regularized and terms.regularize == "all":
        return [bool(sample.positions) for sample in group]
    both = {1.0, 0.0} <= {sample.label for sample in group}
    keeps = terms.degenerate_groups == "keep" and terms.loss_type != "real_no_anchor"
    pulled = both or keeps or terms.loss_type.endswith("every_class")
    return [pulled and not math.isnan(sample.label) for sample in group]


def compare(group: list[Sample], terms: Terms) -> None:
    """
    Takes labels from rollouts of a group on which sampler and trainer disagree.

    The rollouts of the tests come with log-probabilities of 0 from the sampler, so a token's log-ratio is its own.
    """
    for sample, run in zip(group, trained(group, terms), strict=True):
        sample.asked = run
        ratio = math.exp(mean([sample.old[at].item() for at in sample.positions]))
        sample.dropped = run and not math.isnan(sample.label) and max(ratio, 1 / ratio) > terms.mismatch_limit
    for sample in group:
        sample.label = math.nan if sample.dropped else sample.label


def forward(model: nn.Module, sample: Sample, temperature: float) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Log-probabilities and entropies of the completion's tokens (C,), and router logits by layer."""
    ids = torch.tensor([sample.prompt + sample.completion])
    routed = {"output_router_logits": True} if hasattr(model.config, "num_experts") else {}
    output = model(input_ids=ids, **routed)
    logps = (output.logits[0, len(sample.prompt) - 1 : -1] / temperature).log_softmax(-1)
    entropies = -(logps.exp() * logps).sum(-1)
    chosen = torch.stack([logps[at, token] for at, token in enumerate(sample.completion)])
    return chosen, entropies, getattr(output, "router_logits", None)


def balance(router_logits: Iterable[torch.Tensor], experts: int, chosen: int) -> torch.Tensor:
    """Switch Transformers, Eq. 4 to 6, over layers and tokens of one rollout: E Σ_e (share sent to e)(mean p_e)."""
    tokens = [token for layer in router_logits for token in layer.view(-1, experts)]
    sent, probability = [0.0] * experts, [tokens[0].new_zeros(())] * experts
    for token in tokens:
        shares = token.softmax(-1)
        for expert in shares.topk(chosen).indices.tolist():
            sent[expert] += 1 / len(tokens)
        probability = [p + share / len(tokens) for p, share in zip(probability, shares, strict=True)]
    return experts * sum(f * p for f, p in zip(sent, probability, strict=True))


def kl(logp: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Schulman's k3 of one token: π_target/π_θ − log(π_target/π_θ) − 1."""
    return torch.exp(target) / torch.exp(logp) - (target - logp) - 1


def mean(values: list[Any]) -> Any:
    return sum(values) / len(values) if values else 0.0


def gradient(model: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not loss.requires_grad:  # no group of the step trains
        return {name: torch.zeros_like(p) for name, p in named.items()}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


class StepOracle:
    """
    Objective of one optimizer step, and what is logged of it.

    The mean over the groups of each group's loss; plus, for every term, the mean over all rollouts of each one's own
    mean over its counted tokens, where a rollout without any gives 0. The model is float64, at the parameters before
    the step; samples have `old` and, for a KL, `ref`.
    """

    def __init__(self, model: nn.Module, groups: list[list[Sample]], terms: Terms, entropy_weight: float):
        self.model, self.terms, self.entropy_weight = model, terms, entropy_weight
        self.logged: dict[str, list[float]] = {}  # of every token or rollout that the metric is a mean of
        policy = mean([self._group(group) for group in groups])
        added = mean([self._added(sample) for group in groups for sample in group])
        self.loss: torch.Tensor = policy + added
        self.policy_loss = policy.item()

    def metrics(self) -> dict[str, float]:
        """By the names of the trainer's log; those over nothing are left out."""
        means = {name: mean(values) for name, values in self.logged.items() if values}
        largest = {"weights/max": max(self.logged["weights/mean"])} if "weights/mean" in self.logged else {}
        for kind, size in dict(token=abs, sequence=lambda ratio: max(ratio, 1 / ratio)).items():
            if values := self.logged.get(f"mismatch/{kind}_mean"):
                largest[f"mismatch/{kind}_max"] = max(map(size, values))
        policy = {"policy_loss": self.policy_loss} if self.terms.regularized else {}
        return means | largest | policy | {"loss": self.loss.item()}

    def _log(self, name: str, value: torch.Tensor) -> None:
        self.logged.setdefault(name, []).append(value.item())

    def _group(self, group: list[Sample]) -> torch.Tensor:
        """Loss of a group: Eq. 5 of every rollout, then the loss of the scores."""
        runs, scores = trained(group, self.terms), []
        for sample, run in zip(group, runs, strict=True):
            sample.outputs = forward(self.model, sample, self.terms.temperature) if run else None
            ratios = [sample.outputs[0][at] - sample.old[at] for at in sample.positions] if run else []
            scores.append(mean(ratios) + torch.zeros((), dtype=torch.float64))
        labels = [sample.label for sample in group]
        at_scores = torch.stack(scores).detach()
        slopes = reference.group_weights(at_scores.tolist(), labels, **self.terms.objective)
        for score, slope, label, run in zip(at_scores, slopes, labels, runs, strict=True):
            if run and label in (0.0, 1.0):
                self._log("scores/abs_mean", score.abs())
                self._log("scores/positive_mean" if label else "scores/negative_mean", score)
                self._log("weights/mean", torch.tensor(abs(slope)))
        return reference.group_loss(torch.stack(scores), labels, **self.terms.objective)

    def _added(self, sample: Sample) -> torch.Tensor | float:
        """What the terms add for one rollout; logs its tokens."""
        if sample.outputs is None:
            return 0.0
        (logps, entropies, router), terms, distances = sample.outputs, self.terms, []
        if terms.mismatch_limit is not None and sample.positions:
            self._log("mismatch/sequence_mean", mean([sample.old[at] for at in sample.positions]).exp())
        for at in sample.positions:
            if terms.mismatch_limit is not None:
                self._log("mismatch/token_mean", sample.old[at])
            self._log("kl_old", kl(sample.old[at], logps[at]))  # from the old policy, which sampled, to this one
            self._log("entropy", entropies[at])
            if terms.beta:
                distance = kl(logps[at], sample.old[at] if terms.kl_target == "old" else sample.ref[at])
                if terms.use_bias_correction_kl:
                    distance = distance * torch.exp(logps[at]) / torch.exp(sample.old[at])
                self._log("kl", distance)
                distances.append(distance)
        bonus = mean([entropies[at] for at in sample.positions])
        term = terms.beta * mean(distances) - self.entropy_weight * bonus
        if terms.router_aux_loss_coef:
            config = self.model.config
            load = balance(router, config.num_experts, config.num_experts_per_tok)
            self._log("aux_loss", load)
            term = term + terms.router_aux_loss_coef * load
        return term
