"""
What a GPU does and vLLM's CPU backend does not, as a plugin that vLLM loads in each of its processes: it takes new
weights, keeps float32, loses its weights in sleep, and can be sent weights without NCCL.
"""

import os
from typing import Any

import torch


def register() -> None:
    """Called by vLLM; more than once in a process."""
    import engines_probe

    if not torch.cuda.is_available():
        do_as_a_gpu_does()
    if os.environ.get("ENGINES_PROBE"):
        engines_probe.watch()


def do_as_a_gpu_does() -> None:
    import engines_gloo
    from vllm.model_executor.layers import utils
    from vllm.platforms.cpu import CpuPlatform

    # The backend swaps weights for packed copies, which `load_weights` could not write to
    utils.dispatch_cpu_unquantized_gemm = plain_product
    # Otherwise a float32 model would be sampled in bfloat16, and no gap be small
    CpuPlatform.supported_dtypes = property(lambda self: [torch.float32])
    engines_gloo.register()
    if os.environ.get("ENGINES_SLEEP"):
        lose_weights_in_sleep()


def plain_product(layer: torch.nn.Module, remove_weight: bool) -> None:
    layer.cpu_linear = torch.nn.functional.linear


def lose_weights_in_sleep() -> None:
    """Sleep of level 2: whoever generates without new weights afterwards, generates nonsense."""
    from vllm.platforms.cpu import CpuPlatform
    from vllm.v1.worker.cpu_worker import CPUWorker

    def sleep(self: CPUWorker, level: int = 1, *args: Any, **kwargs: Any) -> None:
        for weight in self.model_runner.model.parameters():
            weight.data.fill_(float("nan"))

    CpuPlatform.is_sleep_mode_available = lambda self: True
    CPUWorker.sleep, CPUWorker.wake_up = sleep, lambda self, tags=None, *args, **kwargs: None
