"""The added terms where nothing of a rollout counts; their values are in tests/trainer/test_oracle.py."""

import pytest
import torch

from tests.step.test_rollouts import trl_batch
from trl_real.step.layouts import pack_rollouts
from trl_real.step.loss import added_terms, rollout_means
from trl_real.step.rollouts import unpad
from trl_real.step.settings import Regularizers


def test_a_mean_over_no_token_is_zero() -> None:
    values, mask = torch.tensor([[1.0, 3.0, torch.nan], [5.0, 6.0, 7.0]]), torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert rollout_means(values, mask).tolist() == [2.0, 0.0]


def test_a_rollout_of_which_nothing_counts_is_in_no_balance_loss() -> None:
    batch = pack_rollouts(unpad(trl_batch(), 0), 0)  # the third is masked as truncated, as fillers are
    nothing, balance = torch.zeros(batch.mask.shape), torch.tensor([1.0, 2.0, 40.0])
    regularizers = Regularizers(beta=0.0, kl_target="ref", bias_correction=False, balance_coef=0.5)
    terms, sums = added_terms(regularizers, batch, nothing, nothing, nothing, balance, entropy_coef=0.0)
    assert terms.item() == pytest.approx(1.5)
    assert sums["aux_loss"].item() == 3.0 and sums["rollouts"].item() == 2
