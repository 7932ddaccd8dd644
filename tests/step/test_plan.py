"""The plan keeps its promises for any labels, lengths, group sizes and cuts."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_real.step.plan import Capacity, StepPlan, plan_generation
from trl_real.step.sharing import Sharing


@st.composite
def generations(draw) -> dict:
    """A cut whose optimizer steps hold whole groups, with random lengths and kept rows."""
    group = draw(st.integers(2, 9))
    processes, rows = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    fitting = [micro_steps for micro_steps in range(1, 37) if rows * processes * micro_steps % group == 0]
    micro_steps = draw(st.sampled_from(fitting[:4]))
    steps = draw(st.integers(1, 4))
    count = rows * processes * micro_steps * steps
    lengths = st.lists(st.integers(1, draw(st.sampled_from([2, 50]))), min_size=count, max_size=count)
    capacity = Capacity(
        processes, rows, draw(lengths), draw(lengths), draw(st.booleans()), draw(st.sampled_from([None, 3, 40]))
    )
    capacity = replace(capacity, one_per_backward=draw(st.booleans()))
    if capacity.packed and draw(st.booleans()):
        # As groups have them; now and then two groups have the same
        keys = [row // group % draw(st.sampled_from([3, 1000])) for row in range(count)]
        prompts = [capacity.prompts[key * group % count] for key in keys]
        capacity = replace(capacity, prompts=prompts)
        sharing = Sharing(keys, prompts, capacity.lengths, draw(st.sampled_from([0.0, 0.1])))
        capacity = replace(capacity, sharing=sharing)
    return dict(
        capacity=capacity,
        keep=draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        num_generations=group,
        num_steps=steps,
        micro_steps_per_step=micro_steps,
        on_policy_step=draw(st.sampled_from([None, 0])),
    )


def rows_of(micro_step) -> list[int]:
    return [row for forward in micro_step for rows in forward for row in rows]


def unevenness(micro_step, capacity: Capacity) -> int:
    """Largest difference between two processes: in tokens if packed, else in rows."""
    sizes = capacity.lengths if capacity.packed else [1] * len(capacity.lengths)
    work = [sum(sizes[r] for forward in micro_step for r in forward[p]) for p in range(capacity.processes)]
    return max(work) - min(work)


def held_packed(rows: list[int], capacity: Capacity) -> int:
    """Tokens of a packed forward; a prefix that is not computed again counts as a fifth of it."""
    tokens = sum(capacity.lengths[row] for row in rows)
    if (sharing := capacity.sharing) is None:
        return tokens
    prompts = Counter((sharing.keys[row], capacity.prompts[row] - 1) for row in rows)
    saved = sum(length * (count - 1) for (_, length), count in prompts.items())
    return tokens - 4 * saved // 5 if saved >= sharing.least * tokens else tokens


@settings(max_examples=200, deadline=None)
@given(generations())
def test_every_plan_is_complete_within_memory_and_says_which_groups_are_complete(cut):
    plans = plan_generation(**cut)
    check_rows(cut, plans)
    check_forwards(cut, plans)
    check_groups(cut, plans)


def check_rows(cut: dict, plans: list[StepPlan]) -> None:
    """Every kept row runs once, in the step of its group."""
    group = cut["num_generations"]
    groups = [g for plan in plans for g in plan.groups]
    assert groups == list(range(len(cut["keep"]) // group))  # data order, under every batching
    assert len({len(plan.groups) for plan in plans}) == 1
    for plan in plans:
        ran = sorted(row for micro_step in plan.micro_steps for row in rows_of(micro_step))
        kept = [row for g in plan.groups for row in range(g * group, (g + 1) * group) if cut["keep"][row]]
        assert ran == kept
        assert ran == sorted(row for process in range(cut["capacity"].processes) for row in plan.rows(process))


def check_forwards(cut: dict, plans: list[StepPlan]) -> None:
    """Processes run as many forwards each, within the memory of the user's batch."""
    capacity = cut["capacity"]
    budget = capacity.rows * (max(capacity.prompts) + max(capacity.completions))
    for plan in plans:
        assert len(plan.micro_steps) == cut["micro_steps_per_step"]
        for micro_step in plan.micro_steps:
            assert all(len(forward) == capacity.processes for forward in micro_step)  # equal number of collectives
            assert all(any(forward) for forward in micro_step)  # and none without any row
            for process in range(capacity.processes):
                held = 0
                for rows in (forward[process] for forward in micro_step if forward[process]):
                    lengths = [capacity.lengths[r] for r in rows]
                    held += held_packed(rows, capacity) if capacity.packed else len(rows) * max(lengths)
                    limit = capacity.position_limit or max(lengths)
                    assert min(lengths) > limit or max(lengths) <= limit  # never from both sides
                assert held <= budget
            if capacity.one_per_backward and capacity.packed:  # no more forwards than the limit asks for
                limit = capacity.position_limit or max(capacity.lengths)
                assert len(micro_step) == len({capacity.lengths[row] > limit for row in rows_of(micro_step)})
            if capacity.sharing is None:
                assert unevenness(micro_step, capacity) <= (max(capacity.lengths) if capacity.packed else 1)
        # micro-steps without any row come first, so that the last one, which reduces gradients, has work if any has
        filled = [bool(micro_step) for micro_step in plan.micro_steps]
        assert filled == sorted(filled)


def check_groups(cut: dict, plans: list[StepPlan]) -> None:
    """Groups that are called complete are."""
    group, capacity = cut["num_generations"], cut["capacity"]
    for step, plan in enumerate(plans):
        backwards = [[forward] for micro_step in plan.micro_steps for forward in micro_step]
        if not capacity.one_per_backward:
            backwards = list(filter(None, plan.micro_steps))
        of_group = Counter(g for forwards in backwards for g in {row // group for row in rows_of(forwards)})
        assert not plan.whole_groups or set(of_group.values()) <= {1}
        apart = capacity.one_per_backward and capacity.position_limit is not None
        if capacity.rows * capacity.processes % group == 0 and step != cut["on_policy_step"] and not apart:
            assert plan.whole_groups  # groups fit into micro-steps, so no scoring pass is ever needed


def plan_one(lengths: list[int], group: int, micro_steps: int, rows: int, keep: bool = True, **options) -> StepPlan:
    names = {"processes", "packed", "position_limit", "one_per_backward"} & options.keys()
    held = dict(processes=1) | {name: options.pop(name) for name in names}
    capacity = Capacity(rows=rows, prompts=[1] * len(lengths), completions=lengths, **held)
    return plan_generation(capacity, [keep] * len(lengths), group, 1, micro_steps, **options)[0]


def test_groups_of_like_length_share_a_micro_step():
    # Four groups of two; the long ones (0 and 3) must not make the short ones pay for their padding
    plan = plan_one([90, 80, 5, 6, 7, 4, 85, 95], 2, 2, 4)
    assert [sorted(rows_of(micro_step)) for micro_step in plan.micro_steps] == [[0, 1, 6, 7], [2, 3, 4, 5]]


def test_rows_of_like_length_share_a_forward():
    # Two groups, each with a long and a short rollout: one micro-step, two forwards
    plan = plan_one([90, 10, 12, 80], 2, 1, 4)
    assert [[sorted(forward[0]) for forward in micro_step] for micro_step in plan.micro_steps] == [[[0, 3], [1, 2]]]


def test_padded_rows_share_a_forward_where_each_needs_a_backward_unless_their_weights_are_known():
    plan = plan_one([90, 10, 12, 80], 2, 1, 4, one_per_backward=True)
    assert plan.micro_steps == ((((0, 3, 2, 1),),),) and plan.whole_groups
    plan = plan_one([90, 10, 12, 80], 2, 1, 4, one_per_backward=True, on_policy_step=0)
    assert plan.micro_steps == ((((0, 3),), ((2, 1),)),) and not plan.whole_groups


@pytest.mark.parametrize("packed", [True, False])
def test_a_group_on_both_sides_of_a_limit_is_whole_only_if_they_share_a_backward(packed):
    options = dict(packed=packed, position_limit=50)
    split = plan_one([90, 10, 12, 80], 2, 1, 4, one_per_backward=True, **options)
    assert not split.whole_groups
    shared = plan_one([90, 10, 12, 80], 2, 1, 4, **options)
    assert shared.whole_groups and shared.micro_steps == split.micro_steps
    kept = plan_one([90, 80, 12, 10], 2, 1, 4, one_per_backward=True, **options)
    assert kept.whole_groups  # a group on each side


def test_short_rollouts_share_the_memory_that_long_ones_would_take():
    plan = plan_one([100, 100, 10, 10, 10, 10, 10, 10], 2, 4, 2)
    assert [len(rows_of(micro_step)) for micro_step in plan.micro_steps] == [0, 0, 2, 6]


def test_packed_rows_run_in_one_forward_with_equal_work_on_every_process():
    # 101 + 41 tokens on one process, 81 + 61 on the other; padded, each would have to hold 2 x 101
    plan = plan_one([100, 80, 60, 40], 4, 1, 2, processes=2, packed=True)
    assert plan.micro_steps == ((((0, 3), (1, 2)),),)


def test_a_group_larger_than_a_micro_step_is_spread_out():
    plan = plan_one([10] * 8, 8, 4, 2)
    assert not plan.whole_groups and [len(rows_of(micro_step)) for micro_step in plan.micro_steps] == [2] * 4


def test_on_policy_rows_go_by_length_alone():
    plan = plan_one([100, 10, 100, 10], 2, 2, 2, on_policy_step=0)
    assert [sorted(rows_of(micro_step)) for micro_step in plan.micro_steps] == [[0, 2], [1, 3]]


def test_nothing_kept_is_a_plan_without_rows():
    assert plan_one([5] * 8, 4, 2, 2, keep=False, processes=2).micro_steps == ((), ())


def plan_shared(
    prompt: int, completions: list[int], group: int, rows: int, micro_steps: int = 1, **options
) -> StepPlan:
    prompts = [prompt] * len(completions)
    lengths = [prompt + completion for completion in completions]
    sharing = Sharing([row // group for row in range(len(lengths))], prompts, lengths, options.pop("least", 0.1))
    capacity = Capacity(options.pop("processes", 1), rows, prompts, completions, packed=True, sharing=sharing)
    return plan_generation(capacity, [True] * len(lengths), group, 1, micro_steps, **options)[0]


def test_more_rollouts_fit_behind_a_prompt_that_is_computed_once():
    # 101 + 10 tokens each: a micro-step holds 222, of which a group of four takes 100 + 4 x 11 and three fifths of 100
    plan = plan_shared(101, [10] * 8, 4, 2, micro_steps=4)
    assert [sorted(rows_of(micro_step)) for micro_step in plan.micro_steps] == [[], [], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert plan.whole_groups


def test_what_saves_less_than_a_tenth_of_the_tokens_is_not_shared_unless_it_is_asked_for():
    rows = dict(keys=[0, 0, 1], prompts=[11] * 3, lengths=[101] * 3)
    assert Sharing(**rows).saved([0, 1]) == 0 and Sharing(**rows).cost([0, 1]) == 202
    asked = Sharing(**rows, least=0.0)
    assert asked.saved([0, 1, 2]) == 10 and asked.saved([0, 2]) == 0


def test_groups_stay_whole_on_a_process_where_that_is_less_work():
    plan = plan_shared(101, [10] * 8, 4, 4, processes=2)
    assert plan.micro_steps == ((((0, 1, 2, 3), (4, 5, 6, 7)),),)


def test_one_group_is_cut_where_a_process_would_wait_for_the_other():
    assert plan_shared(101, [100] * 4, 4, 2, processes=2).micro_steps == ((((0, 2), (1, 3)),),)
    # Of three groups two stay whole and one is cut
    (forward,) = plan_shared(101, [100] * 12, 4, 6, processes=2).micro_steps[0]
    assert sorted(len({row // 4 for row in rows}) for rows in forward) == [2, 2]
    assert [len(rows) for rows in forward] == [6, 6]


def test_a_group_larger_than_a_micro_step_is_cut_into_parts_with_the_prompt_each():
    plan = plan_shared(101, [40] * 8, 8, 2, micro_steps=4, least=0.0)
    assert not plan.whole_groups and [len(rows_of(micro_step)) for micro_step in plan.micro_steps] == [0, 3, 3, 2]


def test_rows_of_a_prompt_follow_each_other_when_single_rows_are_planned():
    plan = plan_shared(101, [40, 5, 39, 6], 2, 1, micro_steps=4, on_policy_step=0)
    for micro_step in filter(None, plan.micro_steps):
        assert len({row // 2 for row in rows_of(micro_step)}) == 1


@pytest.mark.parametrize(("rows", "steps"), [(10, 1), (12, 2)])
def test_a_plan_that_would_split_groups_is_refused(rows, steps):
    with pytest.raises(ValueError, match=f"{rows} rollouts in groups of 4 do not make {steps} optimizer steps"):
        plan_generation(Capacity(1, rows, [1] * rows, [1] * rows), [True] * rows, 4, steps, 1)
