"""A run says in one line what it does: the layout, its steps, and what counts as correct."""

import pytest
import trl

from tests.support.cuts import trainer_for


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (
            dict(batch=4, steps=2),
            "packed, prompts shared | 4 prompts × 4 rollouts per optimizer step, 2 steps per generation | "
            "correct = fixed_reward > 0.5",
        ),
        (
            dict(batch=16, steps=1, options=dict(pack_rollouts=False, num_iterations=2, label_threshold=0.25)),
            "padded (pack_rollouts is false) | 4 prompts × 4 rollouts per optimizer step, 1 step per generation, "
            "used 2 times | correct = fixed_reward > 0.25",
        ),
        (
            dict(batch=8, accumulation=4, per_generation=2, max_steps=2, options=dict(share_prompts=False)),
            "packed, prompts not shared (share_prompts is false) | 8 prompts × 4 rollouts per optimizer step, "
            "2 generations per step | correct = fixed_reward > 0.5",
        ),
        (
            dict(
                batch=16,
                steps=4,
                options=dict(label_func="docs.examples.own_objective:quarters", reward_weights=[2.0]),
            ),
            "packed, prompts shared | 4 prompts × 4 rollouts per optimizer step, 4 steps per generation | "
            "correct = docs.examples.own_objective:quarters of 2 × fixed_reward",
        ),
    ],
)
def test_the_line_says_what_the_run_does_and_comes_once(cut, expected, capsys):
    trainer_for(dict(max_steps=4) | cut).train()
    assert capsys.readouterr().out.splitlines().count(f"{expected} | TRL {trl.__version__}") == 1
