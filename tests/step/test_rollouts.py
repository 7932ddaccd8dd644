"""Rollouts lose nothing on their way out of TRL's padded batch."""

import pytest
import torch

from trl_real.step.rollouts import token_counts, unpad
from trl_real.validation.arguments import check_rollout_func


def trl_batch() -> dict:
    """Three rollouts as TRL pads them: prompts left, completions right; the last is masked as truncated."""
    batch = dict(
        prompt_ids=torch.tensor([[0, 5, 6], [7, 8, 9], [0, 0, 4]]),
        prompt_mask=torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 1]]),
        completion_ids=torch.tensor([[11, 12, 13, 14], [21, 0, 0, 0], [31, 32, 33, 0]]),
        completion_mask=torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]),
        tool_mask=torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]]),
        advantages=torch.zeros(3),
        num_items_in_batch=torch.tensor(3),
    )
    batch["token_type_ids"] = 100 + torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    return batch


def test_counts_are_of_real_tokens_and_of_those_that_count():
    assert token_counts(unpad(trl_batch(), 0)).tolist() == [[2, 4, 2], [3, 1, 1], [1, 1, 0]]


def test_a_rollout_function_keeps_its_name_and_its_answer():
    def rollout(prompts, trainer):
        return {"completion_ids": [[1], [2, 3]]}

    assert check_rollout_func(None) is None
    assert check_rollout_func(rollout).__name__ == "rollout"
    assert check_rollout_func(rollout)([], None) == {"completion_ids": [[1], [2, 3]]}


def test_rollouts_are_the_rows_without_their_padding():
    first, second, third = unpad(trl_batch(), first_row=6)
    assert [rollout.row for rollout in (first, second, third)] == [6, 7, 8]
    assert first.prompt_ids.tolist() == [5, 6] and first.mask.tolist() == [1, 0, 0, 1]
    assert second.completion_ids.tolist() == [21]
    assert second.token_types["token_type_ids"].tolist() == [107, 108, 109, 121]
    assert third.completion_ids.tolist() == [31] and third.mask.tolist() == [0]  # one position, which counts nowhere


def test_the_key_of_a_prompt_is_that_of_its_tokens_alone():
    """Every process pads to its own width."""
    wider = trl_batch()
    for name in ("prompt_ids", "prompt_mask", "token_type_ids"):
        wider[name] = torch.nn.functional.pad(wider[name], (1, 0))
    keys = [rollout.prompt_key for rollout in unpad(trl_batch(), first_row=0)]
    assert [rollout.prompt_key for rollout in unpad(wider, first_row=0)] == keys and len(set(keys)) == 3


def test_a_truncated_completion_keeps_the_places_of_its_images():
    """Tools may have put images into it, and the model wants as many places for them as there are images."""
    source = trl_batch() | dict(num_images=[0, 0, 1], pixel_values=torch.ones(1, 3, 4, 4))
    third = unpad(source, first_row=0)[2]
    assert third.completion_ids.tolist() == [31, 32, 33, 0] and third.mask.tolist() == [0] * 4
    assert third.vision["num_images"] == 1


def test_an_empty_prompt_is_named():
    batch = trl_batch()
    batch["prompt_mask"][1] = 0
    with pytest.raises(ValueError, match="prompt of rollout 7 has no tokens"):
        unpad(batch, first_row=6)
