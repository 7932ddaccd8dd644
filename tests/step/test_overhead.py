"""What the update phase may not cost besides forwards and backwards: waiting for the device once per row."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.cuts import trainer_for


# A number read by Python, a tensor whose shape depends on values, a tensor made from Python numbers
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh")


class Waits(TorchDispatchMode):
    """Counts the operations for which the host would wait for a GPU, or a GPU for the host."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.count += any(name in str(operation) for name in WAITS)
        return operation(*args, **(kwargs or {}))


def waits_of_micro_steps(pack_rollouts: bool) -> dict[tuple[bool, int, int], int]:
    """Waits in the loss of every micro-step, by whether it is on policy, its forwards and its rows."""
    waits = {}
    for batch, prompts in ((8, 32), (64, 64)):
        options = dict(pack_rollouts=pack_rollouts, save_strategy="no")
        trainer = trainer_for(dict(batch=batch, accumulation=2, steps=2, prompts=prompts, options=options))
        compute_loss = trainer._compute_loss

        def counted(model: Any, inputs: Any, trainer: Any = trainer, compute_loss: Any = compute_loss) -> torch.Tensor:
            with Waits() as counter:
                loss = compute_loss(model, inputs)
            waits[trainer._phase.loss.step.on_policy, len(inputs.batches), len(inputs.rows)] = counter.count
            return loss

        trainer._compute_loss = counted
        trainer.train()
    return waits


@pytest.mark.parametrize("pack_rollouts", [True, False])
def test_waits_for_the_device_do_not_grow_with_the_rows(pack_rollouts):
    waits = waits_of_micro_steps(pack_rollouts)
    for on_policy in (True, False):
        of_kind = {(forwards, rows): count for (on, forwards, rows), count in waits.items() if on == on_policy}
        rows = [rows for _, rows in of_kind]
        assert min(rows) <= 4 and max(rows) >= 32
        if pack_rollouts:
            assert len(set(of_kind.values())) == 1, of_kind
        # A padded forward reads its mask twice (Transformers) and writes its labels once (TRL)
        assert all(count <= 10 + 3 * forwards for (forwards, _), count in of_kind.items()), of_kind
