"""Weights that ZeRO-3 has cut up are settled before anyone gathers them. With DeepSpeed itself: tests_vllm/."""

from collections.abc import Iterator
from types import SimpleNamespace

import torch
from accelerate import Accelerator

from trl_real.engines.sharded import settle, settle_before_sending


def test_the_weights_are_settled_before_the_first_is_sent_and_every_time() -> None:
    events: list[str] = []

    def send() -> Iterator[tuple[str, torch.Tensor]]:
        events.append("sent")
        yield "weight", torch.ones(1)

    engine = SimpleNamespace(empty_partition_cache=lambda: events.append("settled"))
    accelerator = SimpleNamespace(deepspeed_engine_wrapped=SimpleNamespace(engine=engine))
    generation = SimpleNamespace(accelerator=accelerator, _iter_named_params=send)
    settle_before_sending(generation)
    for _ in range(2):
        assert list(generation._iter_named_params()) == [("weight", torch.ones(1))]
    assert events == ["settled", "sent"] * 2
    settle(Accelerator(cpu=True))  # without DeepSpeed there is nothing to settle
    assert events == ["settled", "sent"] * 2
