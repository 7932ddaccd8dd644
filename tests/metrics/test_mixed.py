"""The warning that nothing trains: after a few generations without a mixed group, once, with what to look at."""

import re

import pytest

from trl_real.metrics.mixed import GENERATIONS, GROUPS, MixedWatch


def shares(**given: float) -> dict[str, float]:
    return dict.fromkeys(("all_correct", "all_incorrect", "mixed", "unlabelled"), 0.0) | given


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("all_incorrect", "label_threshold.*max_completion_length"),
        ("all_correct", "harder"),
        ("unlabelled", "returned None"),
    ],
)
def test_generations_without_a_mixed_group_give_one_warning_that_says_what_to_look_at(kind: str, hint: str) -> None:
    watch = MixedWatch()
    said = [watch.warning(shares(**{kind: 1.0}), GROUPS) for _ in range(3 * GENERATIONS)]
    [(number, sentence)] = [(number, sentence) for number, sentence in enumerate(said, 1) if sentence]
    assert number == GENERATIONS and f"none of {GROUPS * GENERATIONS} groups" in sentence
    assert re.search(hint, sentence)


def test_a_mixed_group_restarts_the_count() -> None:
    watch = MixedWatch()
    kinds = [shares(all_incorrect=1.0), shares(all_incorrect=1.0), shares(all_incorrect=0.9, mixed=0.1)] * 5
    assert not any(watch.warning(kind, GROUPS) for kind in kinds)


def test_a_few_groups_are_too_few_to_say_anything() -> None:
    watch = MixedWatch()
    said = [bool(watch.warning(shares(all_incorrect=1.0), 2)) for _ in range(GROUPS)]
    assert said.index(True) + 1 == GROUPS // 2
