"""Dropout that is no module: a rate that a layer keeps as a number and hands to a function.

In: a model. Out: where such rates are, so that `disable_dropout` turns them off too. Left out: `nn.Dropout` (TRL).
"""

from collections.abc import Iterator

from torch import nn


def functional_dropouts(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Modules and the names of their rates above 0, such as `attention_dropout`, `attn_pdrop` or `layerdrop`."""
    for module in model.modules():
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float) and value > 0:
                yield module, name


def disable_functional_dropout(model: nn.Module) -> None:
    """Sets every such rate to 0."""
    for module, name in list(functional_dropouts(model)):
        setattr(module, name, 0.0)
