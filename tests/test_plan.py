"""The plan keeps its promises for any labels, lengths, group sizes and cuts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_real.plan import StepPlan, plan_generation


@st.composite
def generations(draw) -> dict:
    """A cut whose optimizer steps hold whole groups, with random lengths and kept rows."""
    group = draw(st.integers(2, 9))
    processes, rows = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    micro_steps = draw(st.sampled_from([m for m in range(1, 37) if rows * processes * m % group == 0][:4] or [group]))
    steps = draw(st.integers(1, 4))
    count = rows * processes * micro_steps * steps
    return dict(
        lengths=draw(st.lists(st.integers(1, 50), min_size=count, max_size=count)),
        keep=draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        num_generations=group,
        num_steps=steps,
        micro_steps_per_step=micro_steps,
        num_processes=processes,
        rows_per_process=rows,
    )


@settings(max_examples=300, deadline=None)
@given(generations())
def test_every_kept_row_runs_once_in_the_step_of_its_group(cut):
    group = cut["num_generations"]
    plans = plan_generation(**cut)
    groups = [g for plan in plans for g in plan.groups]
    assert groups == list(range(len(cut["lengths"]) // group))  # data order, whatever the cut
    assert len({len(plan.groups) for plan in plans}) == 1
    for plan in plans:
        ran = sorted(row for process in range(cut["num_processes"]) for row in plan.rows(process))
        kept = [row for g in plan.groups for row in range(g * group, (g + 1) * group) if cut["keep"][row]]
        assert ran == kept


@settings(max_examples=300, deadline=None)
@given(generations())
def test_processes_run_together_within_capacity(cut):
    for plan in plan_generation(**cut):
        assert len(plan.micro_steps) == cut["micro_steps_per_step"]
        for micro_step in plan.micro_steps:
            sizes = [len(rows) for rows in micro_step]
            assert len(sizes) == cut["num_processes"]
            assert max(sizes) <= cut["rows_per_process"]
            assert max(sizes) - min(sizes) <= 1
        # micro-steps without any row come first, so that the last one, which reduces gradients, has work if any has
        filled = [any(micro_step) for micro_step in plan.micro_steps]
        assert filled == sorted(filled)


@settings(max_examples=300, deadline=None)
@given(generations())
def test_whole_groups_are_whole(cut):
    group = cut["num_generations"]
    for plan in plan_generation(**cut):
        of_group: dict[int, set[int]] = {}
        for index, micro_step in enumerate(plan.micro_steps):
            for row in (row for rows in micro_step for row in rows):
                of_group.setdefault(row // group, set()).add(index)
        whole = all(len(micro_steps) == 1 for micro_steps in of_group.values())
        assert whole or not plan.whole_groups
        if cut["rows_per_process"] * cut["num_processes"] % group == 0:
            assert plan.whole_groups  # groups fit into micro-steps, so no scoring pass is ever needed


@settings(max_examples=100, deadline=None)
@given(generations(), st.integers(1, 4))
def test_the_step_of_a_group_does_not_depend_on_processes_or_batch(cut, factor):
    other = dict(cut, num_processes=1, rows_per_process=cut["rows_per_process"] * cut["num_processes"])
    assert [plan.groups for plan in plan_generation(**cut)] == [plan.groups for plan in plan_generation(**other)]


def test_rows_of_like_length_share_a_micro_step():
    # Four groups of two; the long ones (0 and 3) must not make the short ones pay for their padding
    plan = plan_generation([90, 80, 5, 6, 7, 4, 85, 95], [True] * 8, 2, 1, 2, 1, 4)[0]
    assert [sorted(micro_step[0]) for micro_step in plan.micro_steps] == [[0, 1, 6, 7], [2, 3, 4, 5]]


def test_nothing_kept_is_a_plan_without_rows():
    plan = plan_generation([5] * 8, [False] * 8, 4, 1, 2, 2, 2)[0]
    assert plan.micro_steps == (((), ()), ((), ()))


@pytest.mark.parametrize(("rows", "steps"), [(10, 1), (12, 2)])
def test_groups_that_would_be_torn_apart_are_refused(rows, steps):
    with pytest.raises(ValueError, match=f"{rows} rollouts in groups of 4 cannot be shared out whole"):
        plan_generation([1] * rows, [True] * rows, 4, steps, 1, 1, rows)


def test_a_plan_names_the_rows_of_every_process():
    with pytest.raises(ValueError, match="every process"):
        StepPlan(range(1), (((0,),), ((1,), (2,))), True)
