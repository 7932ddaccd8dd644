"""Rewards become labels by the rule that the configuration names, and by no other."""

import pytest
import torch

from trl_real.objective.labels import LabelRule, group_shares, make_label_rule


NAN = torch.nan


def same(first: torch.Tensor, second: list) -> bool:
    return torch.equal(first.nan_to_num(-9.0), torch.tensor(second).nan_to_num(-9.0))


def test_a_rollout_is_correct_when_its_reward_exceeds_the_threshold():
    rule = make_label_rule(["exact"], None, None)
    rewards = rule.rewards(torch.tensor([[1.0], [0.0], [0.5], [NAN], [0.51]]), torch.ones(1))
    assert same(rule.labels(rewards, torch.ones(5)), [1.0, 0.0, 0.0, NAN, 1.0])
    assert same(rule.labels(torch.tensor([1.0, 0.0]), torch.tensor([0, 3])), [NAN, 0.0])  # no token counts


def test_several_rewards_are_summed_with_their_weights():
    rule = make_label_rule(["exact", "format"], 1.5, None)
    rewards = rule.rewards(torch.tensor([[1.0, 1.0], [1.0, 0.0], [NAN, 1.0], [NAN, NAN]]), torch.tensor([1.0, 2.0]))
    assert same(rewards, [3.0, 1.0, 2.0, NAN])
    assert same(rule.labels(rewards, torch.ones(4)), [1.0, 0.0, 1.0, NAN])


def test_one_named_function_decides():
    rule = make_label_rule(["exact", "format"], None, "format")
    rewards = rule.rewards(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, NAN]]), torch.ones(2))
    assert same(rule.labels(rewards, torch.ones(3)), [0.0, 1.0, NAN])
    assert make_label_rule(["exact", "format"], 0.8, "format").threshold == 0.8


def best_and_worst(rewards: torch.Tensor) -> torch.Tensor:
    """Labels by rank: the best of a group is correct, its worst incorrect."""
    best, worst = rewards.nan_to_num(-9.0).amax(1, keepdim=True), rewards.nan_to_num(9.0).amin(1, keepdim=True)
    return torch.where(rewards == best, 1.0, torch.where(rewards == worst, 0.0, torch.nan))


def test_a_rollout_that_counts_nowhere_is_neither_best_nor_worst():
    rewards, counted = torch.tensor([[1.0, 0.8, 0.3, 0.1]]), torch.tensor([[0, 5, 5, 5]])
    assert same(LabelRule(0.5, label_func=best_and_worst).labels(rewards, counted), [[NAN, 1.0, NAN, 0.0]])


def test_what_has_no_reward_or_no_token_has_no_label_whatever_the_function_says():
    rewards, counted = torch.tensor([[1.0, NAN, 0.3, 0.1]]), torch.tensor([[0, 5, 5, 5]])
    for correct_all in (torch.ones_like, lambda rewards: rewards.fill_(1.0)):
        assert same(LabelRule(0.5, label_func=correct_all).labels(rewards, counted), [[NAN, NAN, 1.0, 1.0]])


def test_a_sum_of_several_functions_needs_no_threshold_to_be_ranked():
    rule = make_label_rule(["exact", "format"], None, None, best_and_worst)
    assert rule.threshold == 0.5 and rule.column is None


def test_several_functions_without_a_rule_show_both_ways():
    with pytest.raises(ValueError) as error:
        make_label_rule(["exact", "format"], None, None)
    assert "label_reward_func='<the function that checks" in str(error.value) and "label_threshold" in str(error.value)


def test_an_unknown_label_function_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"label_reward_func.*'exact', 'format'.*'formt'"):
        make_label_rule(["exact", "format"], None, "formt")


def test_more_than_two_values_and_rewards_on_one_side_of_the_threshold_warn_once():
    rule = LabelRule(0.5)
    assert rule.warning(torch.tensor([0.0, 1.0, NAN])) is None
    assert "more than two values (0, 0.3, 1" in rule.warning(torch.tensor([0.3, 1.0]))
    assert rule.warning(torch.tensor([0.7, 0.2])) is None
    rule = LabelRule(0.5)
    assert rule.warning(torch.tensor([0.0, 0.0])) is None
    assert "label_threshold=0.5" in rule.warning(torch.tensor([0.0, 0.4]))
    assert rule.warning(torch.tensor([0.0, 0.4])) is None
    assert LabelRule(0.5).warning(torch.tensor([-1.0, 1.0])) is None
    assert LabelRule(0.5, label_func=best_and_worst).warning(torch.tensor([0.0, 0.3, 0.4, 1.0])) is None


def test_shares_of_groups_sum_to_one():
    labels = torch.tensor([[1.0, 1.0, NAN], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [NAN, NAN, NAN], [0.0, 1.0, NAN]])
    shares = group_shares(labels)
    assert shares == pytest.approx({"all_correct": 0.2, "all_incorrect": 0.2, "mixed": 0.4, "unlabelled": 0.2})
