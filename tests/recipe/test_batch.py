"""The same experiment on any number of GPUs: the batch arithmetic of recipes."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_real.recipe.batch import Batch, derive_batch


PAPER = dict(prompts_per_generation=128, prompts_per_step=32, num_generations=8, per_device_train_batch_size=8)


@settings(max_examples=300, deadline=None)
@given(*[st.integers(1, 6), st.integers(1, 40), st.integers(2, 12), st.integers(1, 24), st.integers(1, 20)])
def test_a_batch_is_cut_exactly_or_refused(steps: int, prompts: int, group: int, device: int, processes: int) -> None:
    batch = Batch(steps * prompts, prompts, group, device, processes)
    try:
        batch.check()
    except ValueError as error:
        assert (prompts * group) % (device * processes)
        check_suggestions(batch, str(error))
    else:
        assert batch.gradient_accumulation_steps * device * processes == prompts * group
        assert batch.steps_per_generation * device * processes == steps * prompts * group


def check_suggestions(batch: Batch, message: str) -> None:
    """Every number that an error proposes works."""
    changes = [dict(per_device_train_batch_size=n) for n in numbers(message, r"Write per_device\w+ ([\d or]+)")]
    changes += [dict(world_size=n) for n in numbers(message, r"([\d or]+) processes \(accelerate")]
    targets = re.findall(r"(\d+) \(of (\d+)\)", message)
    changes += [dict(prompts_per_step=int(one), prompts_per_generation=int(all_)) for one, all_ in targets]
    assert targets
    for change in changes:
        Batch(**vars(batch) | change).check()


def numbers(message: str, pattern: str) -> list[int]:
    found = re.search(pattern, message)
    return [int(number) for number in re.findall(r"\d+", found[1])] if found else []


def test_a_refusal_names_the_nearest_numbers() -> None:
    with pytest.raises(ValueError, match=r"2 or 4 processes .* 30 \(of 120\) or 33 \(of 132\)"):
        derive_batch(PAPER, [], 3)
    with pytest.raises(ValueError, match=r"Write per_device_train_batch_size 4 or 8, or"):
        derive_batch(PAPER | dict(per_device_train_batch_size=6), [], 8)
    with pytest.raises(ValueError, match=r"not a multiple of prompts_per_step \(32\). Write 96 or 128"):
        derive_batch(PAPER | dict(prompts_per_generation=100), [], 8)
    with pytest.raises(ValueError, match="prompts_per_step: must be at least 1, got -1"):
        derive_batch(PAPER | dict(prompts_per_step=-1), [], 8)


def test_the_two_targets_come_together_and_exclude_trls_fields() -> None:
    with pytest.raises(ValueError, match="prompts_per_step: also set prompts_per_generation"):
        derive_batch(PAPER | dict(prompts_per_generation=None), [], 1)
    for name in ("gradient_accumulation_steps", "steps_per_generation", "generation_batch_size"):
        with pytest.raises(ValueError, match=f"{name}: follows from prompts_per_generation"):
            derive_batch(PAPER, ["learning_rate", name], 1)
        without = PAPER | dict(prompts_per_generation=0, prompts_per_step=0)
        assert derive_batch(without, [name], 1) == {}
