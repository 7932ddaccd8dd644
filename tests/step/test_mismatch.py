"""Ratios between trainer and sampler: over the tokens that count and are known, and what happens where none are."""

import math

import pytest
import torch

from tests.support.cuts import ROWS, trainer_for
from tests.support.trainers import config, trainer
from trl_real.step.metrics import beyond, sequence_log_ratios, token_log_ratios


NAN = math.nan


def test_a_ratio_is_over_the_tokens_that_count_and_are_known():
    sampling = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, NAN, -3.0], [NAN, NAN, 0.0], [-1.0, -1.0, 0.0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 0], [0, 0, 0]])
    ratios, known = token_log_ratios(torch.full((4, 3), -2.5), sampling, mask)
    assert ratios[0].tolist() == [-1.5, -0.5, 0.5] and known.sum(dim=1).tolist() == [3, 1, 0, 0]
    assert sequence_log_ratios(ratios, known).tolist() == [-0.5, -1.5, 0.0, 0.0]


def test_a_band_is_the_limit_and_its_inverse_and_a_token_that_was_impossible_is_beyond_any():
    ratios = torch.tensor([0.0, math.log(1.19), -math.log(1.19), math.log(1.21), -math.log(1.21), math.inf, NAN])
    assert beyond(ratios, 1.2).tolist() == [False, False, False, True, True, True, True]


def test_a_limit_without_another_engine_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`mismatch_limit` compares .* write use_vllm=True"):
        trainer(tmp_path, args=config(tmp_path, mismatch_limit=1.1))


def test_a_limit_without_log_probabilities_of_the_sampler_is_an_error():
    made = trainer_for(dict(batch=ROWS, max_steps=1, options=dict(mismatch_limit=1.1)))
    whole = made._generate_and_score_completions

    def without(inputs):
        return {key: value for key, value in whole(inputs).items() if key != "sampling_per_token_logps"}

    made._generate_and_score_completions = without
    with pytest.raises(ValueError, match="`mismatch_limit`: the rollouts came without log-probabilities"):
        made.train()
