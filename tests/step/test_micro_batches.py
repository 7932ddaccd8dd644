"""What a forward reads: rows packed one after another or padded, and back to (B, C)."""

import pytest
import torch

from tests.step.test_rollouts import trl_batch
from trl_real.step.layouts import IGNORED, pack_rollouts, pad_rollouts
from trl_real.step.rollouts import unpad


def test_a_micro_batch_is_padded_to_its_own_longest_row():
    rollouts = unpad(trl_batch(), first_row=6)
    assert [rollout.row for rollout in rollouts] == [6, 7, 8]
    batch = pad_rollouts([rollouts[1], rollouts[2]], pad_token_id=0)
    assert batch.input_ids.tolist() == [[7, 8, 9, 21], [4, 31, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.mask.tolist() == [[1], [0]]
    assert batch.extras["token_type_ids"].tolist() == [[107, 108, 109, 121], [104, 131, 0, 0]]
    assert batch.rows == [7, 8]


def test_padded_rows_predict_only_what_counts():
    rollouts = unpad(trl_batch(), 0)
    batch = pad_rollouts(rollouts, pad_token_id=0)
    assert batch.labels.tolist() == [  # of 11, 12, 13, 14 a tool wrote the two in the middle
        [IGNORED, IGNORED, 11, IGNORED, IGNORED, 14],
        [IGNORED, IGNORED, IGNORED, 21, IGNORED, IGNORED],
        [IGNORED] * 6,
    ]
    values = torch.arange(15.0).view(3, 5)  # of the next token
    assert batch.unpack(values).tolist() == [[1, 0, 0, 4], [7, 0, 0, 0], [0, 0, 0, 0]]
    virtual = torch.cat([torch.full((3, 2), 99.0), values], dim=1)  # of two virtual tokens in front of every row
    assert torch.equal(batch.unpack(virtual), batch.unpack(values))


def test_the_width_is_rounded_up_to_a_multiple():
    batch = pad_rollouts(unpad(trl_batch(), 0), pad_token_id=0, pad_to_multiple_of=8)
    assert batch.input_ids.shape == batch.labels.shape == (3, 8) and batch.mask.shape == (3, 4)
    assert batch.input_ids[1].tolist() == [7, 8, 9, 21] + [0] * 4


def test_log_probabilities_come_back_to_their_tokens():
    rollouts = unpad(trl_batch(), 0)
    wide = pad_rollouts(rollouts, 0)
    wide.store("old_per_token_logps", torch.arange(12.0).view(3, 4))
    narrow = pad_rollouts([rollouts[2], rollouts[1]], 0)
    assert narrow.padded("old_per_token_logps").tolist() == [[8.0], [4.0]]
    assert wide.padded("old_per_token_logps")[1].tolist() == [4.0, 0.0, 0.0, 0.0]
    with pytest.raises(RuntimeError, match="rollout 2 has no ref_per_token_logps"):
        narrow.padded("ref_per_token_logps")


def test_a_filler_counts_no_token_and_needs_no_log_probabilities():
    filler = unpad(trl_batch(), 0)[0].filler()
    batch = pad_rollouts([filler], 0)
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
    batch = pad_rollouts([rollouts[2], rollouts[0]], 0)
    assert batch.extras.keys() == {"image_grid_thw", "pixel_values"}
    assert batch.extras["image_grid_thw"].shape == (3, 3)
    assert torch.equal(batch.extras["pixel_values"], torch.cat([images(2, 3.0), images(1, 1.0)]))
    assert pad_rollouts([rollouts[1]], 0).extras == {}  # no image in this micro-batch


def test_packed_rows_follow_each_other_and_predict_only_what_counts():
    rollouts = unpad(trl_batch(), 0)
    batch = pack_rollouts([rollouts[1], rollouts[0]], pad_token_id=0)
    assert batch.input_ids.tolist() == [[7, 8, 9, 21, 5, 6, 11, 12, 13, 14]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 4, 5]]
    # 21 follows 9; of 11, 12, 13, 14 a tool wrote the two in the middle
    assert [(at, label) for at, label in enumerate(batch.shift_labels[0].tolist()) if label != IGNORED] == [
        (2, 21),
        (5, 11),
        (8, 14),
    ]
    assert batch.row_lengths == [4, 6] and batch.rows == [1, 0]
    assert batch.mask.tolist() == [[1, 0, 0, 0], [1, 0, 0, 1]]
    assert batch.unpack(torch.arange(10.0)[None]).tolist() == [[2, 0, 0, 0], [5, 0, 0, 8]]


def test_a_packed_forward_is_rounded_up_by_a_row_that_nothing_reads():
    batch = pack_rollouts(unpad(trl_batch(), 0), pad_token_id=3, pad_to_multiple_of=8)
    assert batch.row_lengths == [6, 4, 2, 4] and batch.input_ids[0, -4:].tolist() == [3] * 4
    assert set(batch.shift_labels[0, -4:].tolist()) == {IGNORED}
    assert [len(part) for part in batch.split(torch.zeros(16, 5))] == [6, 4, 2]
    assert pack_rollouts(unpad(trl_batch(), 0), 3, pad_to_multiple_of=4).row_lengths == [6, 4, 2]


@pytest.mark.parametrize("layout", [pack_rollouts, pad_rollouts])
def test_values_of_tokens_are_split_by_rollout(layout):
    rollouts = unpad(trl_batch(), 0)
    batch = layout(rollouts, 0)
    parts = batch.split(batch.input_ids.flatten())
    assert [part.tolist() for part in parts] == [[5, 6, 11, 12, 13, 14], [7, 8, 9, 21], [4, 31]]
