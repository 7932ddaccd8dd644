"""
Keeps the frozen base of an adapter exact while vLLM is sent the merged weights.

TRL merges the adapter into the weights and removes it again. With a base in bfloat16 each time rounds twice, so the
base drifts away from the loaded weights, to which the saved adapter belongs (`docs/frozen-base.md`). Here vLLM is sent
merged copies, one layer at a time, under the same names. Left out: FSDP, where TRL merges all shards in place.
"""

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from typing import Any

import torch
from accelerate.utils import is_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


BASE = ".base_layer"


def keep_base_exact(generation: Any) -> None:
    """Makes TRL's `VLLMGeneration` send merged copies; without an adapter, or with FSDP, it stays as it is."""
    if is_peft_model(generation.model) and not generation._dist.is_fsdp:
        generation._iter_named_params = partial(merged_params, generation)


def merged_params(generation: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """
    vLLM's name of every parameter, and its value with the adapter merged in. With ZeRO-3 every process has to iterate.
    """
    model = generation.model
    if model.active_peft_config.is_prompt_learning:
        raise ValueError(
            "`use_vllm`: the adapter is learned prompts, which cannot be merged into weights for vLLM. Write "
            "use_vllm=False."
        )
    names = [
        name for name, _ in model.named_parameters() if model.prefix not in name and "original_module" not in name
    ]
    for owner, group in groupby(names, key=_adapted_layer):
        if owner is None:
            for name in group:
                parameter = model.get_parameter(name)
                with generation._dist.gather_params([parameter]):
                    yield _name_in_vllm(generation, name), parameter.data
        else:
            layer = model.get_submodule(owner)
            with generation._dist.gather_params(list(layer.parameters())):
                copies = merged_copies(layer)
            for name in group:
                yield _name_in_vllm(generation, name), copies.pop(name.removeprefix(f"{owner}."))


def merged_copies(layer: nn.Module) -> dict[str, torch.Tensor]:
    """
    Copies of the weights of a PEFT layer, or of one around others, with its adapter merged in, by the names of the
    parameters; the layer itself stays the same, bit by bit.
    """
    adapted = [module for module in layer.modules() if isinstance(module, BaseTunerLayer)]
    bases = list(dict.fromkeys(module for each in adapted for module in each.get_base_layer().modules()))
    # The parameters as well as their values: a quantized layer gets new parameters when it is merged
    saved = [
        (base, name, parameter, parameter.data.clone())
        for base in bases
        for name, parameter in base.named_parameters(recurse=False)
    ]
    try:
        for module in adapted:
            module.merge()
        return {name: parameter.data.clone() for name, parameter in layer.named_parameters() if BASE[1:] in name}
    finally:
        for module in reversed(adapted):
            module.unmerge()
        for base, name, parameter, values in saved:
            setattr(base, name, parameter)
            parameter.data.copy_(values)


def _adapted_layer(name: str) -> str | None:
    """The outermost PEFT layer that a parameter belongs to."""
    return name.partition(BASE)[0] if BASE in name else None


def _name_in_vllm(generation: Any, name: str) -> str:
    plain = name.removeprefix("base_model.model.").replace(BASE, "")
    return generation._fix_param_name_to_vllm(plain, extra_prefixes=["modules_to_save.default."])
