"""The study choose.yaml: losses of rivals in REAL's engine, and verifiers that err at their rates."""

import math

import pytest
import torch

from docs.results.studies import chain, rivals
from trl_real.objective import check_group_loss, group_losses


SCORES, LABELS = torch.tensor([[0.01, -0.05, 0.04, 0.0]]), torch.tensor([[1.0, 1.0, 0.0, 0.0]])


@pytest.mark.parametrize("loss", ["rloo", "grpo", "gspo", "disco", "real_auto_clip"])
def test_a_rival_keeps_the_contract_of_a_custom_loss(loss: str) -> None:
    for size in (4, 8, 16):
        check_group_loss(getattr(rivals, loss), size)


def test_losses_are_those_of_the_papers() -> None:
    # rewards 1, 1, 0, 0: each minus the mean of the three others is ±2/3, and the standard deviation is 1/√3
    assert rivals.rloo(SCORES, LABELS).item() == pytest.approx(-(0.01 - 0.05 - 0.04) * 2 / 3 / 4)
    scaled = 0.5 * math.sqrt(3)
    assert rivals.grpo(SCORES, LABELS).item() == pytest.approx(-(0.01 - 0.05 - 0.04) * scaled / 4, rel=1e-3)
    # the third ratio is above the range, its advantage negative: the minimum keeps it; the second is not held either
    ratios = [math.exp(score) for score in SCORES[0].tolist()]
    assert rivals.gspo(SCORES, LABELS).item() == pytest.approx(
        -scaled / 4 * (ratios[0] + ratios[1] - ratios[2] - ratios[3]), rel=1e-3
    )
    hardest = math.log((math.exp(ratios[2]) + math.exp(ratios[3])) / 2)
    assert rivals.disco(SCORES, LABELS).item() == pytest.approx(hardest - (ratios[0] + ratios[1]) / 2, rel=1e-4)
    # gspo has no gradient beyond its range
    scores = torch.tensor([[0.1, -0.1, 0.1, -0.1]], requires_grad=True)
    rivals.gspo(scores, LABELS).sum().backward()
    assert (scores.grad != 0).tolist() == [[False, True, True, False]]


def test_the_automatic_clip_is_a_multiple_of_the_first_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "_sizes", [])
    labels = LABELS.expand(2, 4)
    for size in (0.0, 0.01, 0.02, 0.03):
        scores = torch.full((2, 4), size)
        assert torch.equal(rivals.real_auto_clip(scores, labels), group_losses(scores, labels)) or size == 0.03
    scores = torch.tensor([[0.049, 0.06, -0.049, 0.0]] * 2, requires_grad=True)
    rivals.real_auto_clip(scores, labels).sum().backward()
    assert (scores.grad != 0).tolist() == [[True, False, True, True]] * 2  # 2.5 times 0.02


@pytest.mark.parametrize(("truth", "wrong"), [("5", 0.0), ("4", 1.0)])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_verifier_errs_at_its_rates(truth: str, wrong: float, fixed: bool) -> None:
    reward = chain.erring_verifier(0.1, 0.2, fixed=fixed)
    columns = dict(prompts=[f"{n}+1=" for n in range(4000)], completions=["5"] * 4000, answer=[truth] * 4000)
    rewards = reward(**columns)
    assert rewards.count(wrong) / 4000 == pytest.approx(0.1 if wrong else 0.2, abs=0.03)
    assert (rewards == reward(**columns)) == fixed
