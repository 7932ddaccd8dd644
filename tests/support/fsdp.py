"""FSDP2 on CPUs, where accelerate leaves it out without a word, and the cuts of `cuts.py` under it."""

import os
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from tests.support import cuts
from trl_real import REALTrainer


# As `accelerate launch` would with recipes/accelerate/fsdp2.yaml
ENVIRONMENT = dict(
    ACCELERATE_USE_FSDP="true",
    FSDP_VERSION="2",
    FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP",
    FSDP_RESHARD_AFTER_FORWARD="true",
    FSDP_OFFLOAD_PARAMS="false",
    FSDP_CPU_RAM_EFFICIENT_LOADING="true",
    FSDP_STATE_DICT_TYPE="FULL_STATE_DICT",
    FSDP_ACTIVATION_CHECKPOINTING="false",
)


def use_fsdp() -> None:
    """From here on, accelerate shards on CPUs as it does on GPUs."""
    os.environ.update(ENVIRONMENT)
    initialize = AcceleratorState.__init__

    def with_fsdp(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        initialize(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if "fsdp_plugin" not in self._shared_state:  # a second one, after a reset, finds FSDP as the type
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            if self.mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self.mixed_precision)
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = with_fsdp


class Sharded(REALTrainer):
    """Makes sure that it is, and that prompts are shared if asked for."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        # Later, after a micro-step without rollouts, no backward may have sharded again what a forward gathered
        if self._step == 0:
            assert all(isinstance(parameter, DTensor) for parameter in self.model.parameters())
        loss = super().training_step(*args, **kwargs)
        assert self._phase.choice.shared is True or not self.args.share_prompts
        return loss


def main(cuts_file: Path, output_file: Path) -> None:
    """As that of `cuts.py`."""
    use_fsdp()
    cuts.main(cuts_file, output_file, Sharded)
