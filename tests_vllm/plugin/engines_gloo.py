"""
A weight transfer for vLLM servers over gloo, since vLLM and TRL have one over NCCL only.

The server gets `--weight-transfer-config '{"backend": "gloo"}'`, the trainer calls `join_over_gloo`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist


PATIENCE = timedelta(minutes=5)


def connect(address: str, port: int, rank: int, world_size: int) -> dist.ProcessGroupGloo:
    """A group of its own; a launcher's variables play no part."""
    store = dist.TCPStore(address, port, world_size, rank == 0, timeout=PATIENCE)
    return dist.ProcessGroupGloo(store, rank, world_size, PATIENCE)


def broadcast(group: dist.ProcessGroupGloo, tensor: torch.Tensor) -> None:
    """From rank 0, the trainer."""
    options = dist.BroadcastOptions()
    options.rootRank = 0
    group.broadcast([tensor], options).wait()


def register() -> None:
    """Makes the engine known in a process of the server; more than once does no harm."""
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
    from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine

    class GlooWeightTransferEngine(NCCLWeightTransferEngine):
        def init_transfer_engine(self, init_info: Any) -> None:
            config = self.parallel_config
            rank = config.data_parallel_index * config.world_size + config.rank + init_info.rank_offset
            self.group = connect(init_info.master_address, init_info.master_port, rank, init_info.world_size)

        def receive_weights(self, update_info: Any) -> None:
            described = zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True)
            for name, dtype, shape in described:
                weight = torch.empty(shape, dtype=getattr(torch, dtype))
                broadcast(self.group, weight)
                self.model.load_weights([(name, weight)])

    if "gloo" not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine("gloo", GlooWeightTransferEngine)


def join_over_gloo() -> None:
    """Lets TRL's client, in the process of the trainer, join such a server instead of refusing a CPU."""
    from trl.generation import vllm_client

    def init_communicator(self: vllm_client.VLLMClient, device: Any = 0) -> None:
        info = dict(master_address="127.0.0.1", master_port=self.group_port, rank_offset=1)
        info["world_size"] = self.get_world_size() + 1
        url = f"{self.base_url}/init_weight_transfer_engine"
        with ThreadPoolExecutor(1) as pool:  # the server answers when the group stands
            answer = pool.submit(self._post, url, json={"init_info": info})
            group = connect("127.0.0.1", self.group_port, 0, info["world_size"])
            answer.result()
        self.communicator = SimpleNamespace(group=SimpleNamespace(), pg=group)

    def send(iterator: Iterator, group: Any, src: int, post_iter_func: Callable) -> None:
        for item in iterator:
            broadcast(group.pg, post_iter_func(item).contiguous())

    vllm_client.VLLMClient.init_communicator = init_communicator
    vllm_client.packed_nccl_broadcast_producer = send
