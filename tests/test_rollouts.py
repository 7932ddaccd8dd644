"""Rollouts lose nothing on their way out of TRL's padded batch and back into micro-batches."""

import pytest
import torch

from trl_real.rollouts import Rollout, check_rollout_func, collate, token_counts, unpad


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
    assert token_counts(trl_batch()).tolist() == [[2, 4, 2], [3, 1, 1], [1, 1, 0]]


def test_a_micro_batch_is_padded_to_its_own_longest_row():
    rollouts = unpad(trl_batch(), first_row=6)
    assert [rollout.row for rollout in rollouts] == [6, 7, 8]
    batch = collate([rollouts[1], rollouts[2]], pad_token_id=0)
    assert batch.input_ids.tolist() == [[7, 8, 9, 21], [0, 0, 4, 31]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert batch.mask.tolist() == [[1], [0]]
    assert batch.forward_kwargs["token_type_ids"].tolist() == [[107, 108, 109, 121], [0, 0, 104, 131]]
    assert batch.rows == [7, 8]


def test_all_rows_together_are_trls_batch_again():
    source = trl_batch()
    source["completion_mask"][2, :3] = 1
    batch = collate(unpad(source, 0), pad_token_id=0)
    assert torch.equal(batch.input_ids, torch.cat([source["prompt_ids"], source["completion_ids"]], 1))
    assert torch.equal(batch.attention_mask, torch.cat([source["prompt_mask"], source["completion_mask"]], 1))
    assert torch.equal(batch.mask, source["completion_mask"] * source["tool_mask"])


def test_widths_are_rounded_up_to_a_multiple():
    batch = collate(unpad(trl_batch(), 0), pad_token_id=0, pad_to_multiple_of=8)
    assert batch.input_ids.shape == (3, 16) and batch.mask.shape == (3, 8)
    assert batch.input_ids[1].tolist() == [0] * 5 + [7, 8, 9, 21] + [0] * 7


def test_log_probabilities_come_back_to_their_tokens():
    rollouts = unpad(trl_batch(), 0)
    wide = collate(rollouts, 0)
    wide.store("old_per_token_logps", torch.arange(12.0).view(3, 4))
    narrow = collate([rollouts[2], rollouts[1]], 0)
    assert narrow.padded("old_per_token_logps").tolist() == [[8.0], [4.0]]
    assert wide.padded("old_per_token_logps")[1].tolist() == [4.0, 0.0, 0.0, 0.0]
    with pytest.raises(RuntimeError, match="rollout 2 has no ref_per_token_logps"):
        narrow.padded("ref_per_token_logps")


def test_a_filler_counts_no_token_and_needs_no_log_probabilities():
    filler = unpad(trl_batch(), 0)[0].filler()
    batch = collate([filler], 0)
    assert batch.rows == [None] and batch.mask.sum() == 0
    assert batch.padded("old_per_token_logps").tolist() == [[0.0] * 4]


def images(count: int, value: float) -> torch.Tensor:
    """Patches of `count` images on a 1 × 2 × 2 grid."""
    return torch.full((4 * count, 3), value)


def test_images_follow_their_rollout():
    source = trl_batch()
    source.pop("token_type_ids")
    source["num_images"] = [1, 0, 2]
    source["image_grid_thw"] = torch.tensor([[1, 2, 2]] * 3)
    source["pixel_values"] = torch.cat([images(1, 1.0), images(2, 3.0)])
    rollouts = unpad(source, 0)
    batch = collate([rollouts[2], rollouts[0]], 0)
    assert batch.forward_kwargs["num_images"] == [2, 1]
    assert batch.forward_kwargs["image_grid_thw"].shape == (3, 3)
    assert torch.equal(batch.forward_kwargs["pixel_values"], torch.cat([images(2, 3.0), images(1, 1.0)]))
    assert collate([rollouts[1]], 0).forward_kwargs == {}  # no image in this micro-batch


def test_a_rollout_knows_its_length():
    assert Rollout(0, torch.ones(3), torch.ones(4), torch.ones(4)).length == 7


def test_a_rollout_function_keeps_its_name_and_its_answer():
    def rollout(prompts, trainer):
        return {"completion_ids": [[1], [2, 3]]}

    assert check_rollout_func(None) is None
    assert check_rollout_func(rollout).__name__ == "rollout"
    assert check_rollout_func(rollout)([], None) == {"completion_ids": [[1], [2, 3]]}
