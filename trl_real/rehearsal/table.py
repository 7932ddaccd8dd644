"""
The table of the checks.

In: what this machine has. Out: which checks there are, in the order in which they run, and why one cannot run here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from .machine import gpus


@dataclass(frozen=True)
class Check:
    """
    A check.

    Args:
        name (`str`):
            Its row.
        function (`str`):
            `module:function` in `checks`.
        limit (`int`):
            Most seconds that it may take.
        everywhere (`bool`, *optional*, defaults to `False`):
            Whether it runs in a process for each GPU (in two on a CPU), and not in one.
        lacks (`Callable`, *optional*):
            Why it cannot run here; `None` if it can.
    """

    name: str
    function: str
    limit: int
    everywhere: bool = False
    lacks: Callable[[], str | None] = lambda: None

    @property
    def processes(self) -> int:
        """How many it is started in."""
        return (gpus() or 2) if self.everywhere else 1


def lacks_flash_attention() -> str | None:
    if not gpus():
        return "it needs a GPU"
    return None if find_spec("flash_attn") else "flash-attn is not installed (pip install flash-attn)"


def lacks_vllm() -> str | None:
    if not gpus():
        return "sleep needs a GPU"
    return None if find_spec("vllm") else "vLLM is not installed (pip install 'trl-real[vllm]')"


def lacks_deepspeed() -> str | None:
    return None if find_spec("deepspeed") else "DeepSpeed is not installed (pip install 'trl-real[deepspeed]')"


CHECKS = (
    Check("versions and devices", "environment:check", 60),
    Check("all_reduce", "all_reduce:check", 120, everywhere=True),
    Check("product in bfloat16", "matmul:check", 60),
    Check("packed = alone, SDPA", "packing:sdpa", 120),
    Check("packed = alone, FlashAttention", "packing:flash_attention_2", 120, lacks=lacks_flash_attention),
    Check("checkpoint and resume", "resume:check", 180),
    Check("vLLM with sleep", "vllm_sleep:check", 240, lacks=lacks_vllm),
    Check("ZeRO-3", "zero3:check", 300, everywhere=True, lacks=lacks_deepspeed),
    Check("peak of memory", "peak_memory:check", 180),
)
