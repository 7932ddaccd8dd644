"""Rewards become labels by the rule that the configuration names, and by no other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_real.objective.labels import GroupQuantileRule, LabelRule, group_shares, make_label_rule


NAN = torch.nan


def same(first: torch.Tensor, second: list) -> bool:
    return torch.equal(first.nan_to_num(-9.0), torch.tensor(second).nan_to_num(-9.0))


def test_a_rollout_is_right_when_its_reward_exceeds_the_threshold():
    rule = make_label_rule(["exact"], None, None)
    rewards = rule.rewards(torch.tensor([[1.0], [0.0], [0.5], [NAN], [0.51]]), torch.ones(1))
    assert same(rule.labels(rewards, torch.ones(5)), [1.0, 0.0, 0.0, NAN, 1.0])


def test_a_rollout_without_counted_tokens_has_no_label():
    labels = LabelRule(0.5).labels(torch.tensor([1.0, 0.0]), torch.tensor([0, 3]))
    assert same(labels, [NAN, 0.0])


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


def quantile_labels(rewards: list[float], share: float, gap: float) -> list[float]:
    """The rule in words, one rollout after another."""
    scored = sorted(reward for reward in rewards if not math.isnan(reward))
    if not scored:
        return [NAN] * len(rewards)
    members = max(math.floor(round(share * len(scored), 6)), 1)
    worst, best = scored[members - 1], scored[-members]
    if not best > worst or best - worst < gap:
        return [NAN] * len(rewards)
    return [1.0 if r >= best else 0.0 if r <= worst else NAN for r in rewards]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_best_of_a_group_are_right_and_its_worst_are_wrong(data):
    size, share = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([0.01, 0.25, 0.29, 0.3, 0.5]))
    gap = data.draw(st.sampled_from([0.0, 0.25, 1.0]))
    rewards = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, NAN]), min_size=size, max_size=size)
    groups = data.draw(st.lists(rewards, min_size=1, max_size=4))
    labels = GroupQuantileRule(0.5, share=share, gap=gap).labels(torch.tensor(groups), torch.ones(len(groups), size))
    assert same(labels, [quantile_labels(group, share, gap) for group in groups])


def test_a_rollout_that_counts_nowhere_is_neither_best_nor_worst():
    rewards, counted = torch.tensor([[1.0, 0.8, 0.3, 0.1]]), torch.tensor([[0, 5, 5, 5]])
    assert same(GroupQuantileRule(0.5).labels(rewards, counted), [[NAN, 1.0, NAN, 0.0]])


def test_a_sum_of_several_functions_needs_no_threshold_to_be_ranked():
    rule = make_label_rule(["exact", "format"], None, None, needs_threshold=False)
    assert rule.threshold == 0.5 and rule.column is None


def test_several_functions_without_a_rule_show_both_ways():
    with pytest.raises(ValueError) as error:
        make_label_rule(["exact", "format"], None, None)
    assert "label_reward_func='exact'" in str(error.value) and "label_threshold" in str(error.value)


def test_an_unknown_label_function_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"label_reward_func.*'exact', 'format'.*'formt'"):
        make_label_rule(["exact", "format"], None, "formt")


def test_more_than_two_values_warn_once():
    rule = LabelRule(0.5)
    assert rule.warning(torch.tensor([0.0, 1.0, NAN])) is None
    assert "more than two values (0, 0.3, 1" in rule.warning(torch.tensor([0.3, 1.0]))
    assert rule.warning(torch.tensor([0.7, 0.2])) is None


def test_rewards_on_one_side_of_the_threshold_warn_once():
    rule = LabelRule(0.5)
    assert rule.warning(torch.tensor([0.0, 0.0])) is None
    assert "label_threshold=0.5" in rule.warning(torch.tensor([0.0, 0.4]))
    assert rule.warning(torch.tensor([0.0, 0.4])) is None
    assert LabelRule(0.5).warning(torch.tensor([-1.0, 1.0])) is None


def test_shares_of_groups_sum_to_one():
    labels = torch.tensor([[1.0, 1.0, NAN], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [NAN, NAN, NAN], [0.0, 1.0, NAN]])
    shares = group_shares(labels)
    assert shares == pytest.approx({"all_right": 0.2, "all_wrong": 0.2, "mixed": 0.4, "unlabelled": 0.2})
