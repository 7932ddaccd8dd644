"""The user's own functions of a group: a loss in place of Eq. 8, labels in place of a threshold.

In: a function, or its import path. Out: the function, once it has kept its contract on small random groups; an error
that says what it broke. Left out: what the trainer does with it, which is the same as with the built-in losses.
"""

import importlib
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

import torch

from .losses import losses_and_weights, mixed_groups


GroupFunction = Callable[..., torch.Tensor]
# Every kind of group: mixed, one class, no label at all, and one rollout without a label
TRIAL_LABELS = torch.tensor(
    [[1, 0, 1, 0], [1, 1, 0, torch.nan], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [torch.nan] * 4]
)


def load_function(field: str, value: str | GroupFunction) -> GroupFunction:
    """
    The function itself, or the one at `"package.module:function"`.

    Raises:
        `ValueError`: If it cannot be imported or is not callable; names the field.
    """
    if callable(value):
        try:
            pickle.dumps(value)
        except Exception as error:  # pickle raises several kinds
            raise ValueError(
                f"`{field}`: {name_of(value)} cannot be saved with checkpoints ({error}). Define it at the top level "
                "of a module."
            ) from error
        return value
    module, _, name = value.partition(":")
    if os.getcwd() not in sys.path:  # as for the reward functions of a recipe
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module raises while it is imported
        raise ValueError(
            f"`{field}`: cannot import {value!r} ({type(error).__name__}: {error}). Write package.module:function, "
            "with the package in the current folder or installed."
        ) from error
    if not callable(function):
        raise ValueError(f"`{field}`: {value!r} is a {type(function).__name__}, not a function.")
    return function


def name_of(value: Any) -> Any:
    """The import path of a function; anything else as it is."""
    if not callable(value):
        return value
    return f"{value.__module__}:{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)


def trained_groups(group_loss: GroupFunction, labels: torch.Tensor) -> torch.Tensor:
    """
    Which groups (N,) have a gradient: those that `group_loss.trained_groups(labels)` marks.

    Without that attribute, groups with both correct and incorrect rollouts.
    """
    return getattr(group_loss, "trained_groups", mixed_groups)(labels)


def check_group_loss(group_loss: GroupFunction) -> None:
    """
    Runs a loss on small random groups.

    Raises:
        `ValueError`: If its shape is not `(N,)`, a loss or a gradient is not finite, the loss of a group depends on
        another group, no gradient reaches the scores of a trained group, or one reaches a group that is not trained.
    """
    labels = TRIAL_LABELS.clone()
    groups, size = labels.shape
    for scale in (0.0, 0.5):
        scores = scale * torch.randn(labels.shape, generator=torch.Generator().manual_seed(0))
        losses, weights = _run(group_loss, scores, labels)
        if not losses.isfinite().all() or not weights.isfinite().all():
            raise _broken("its losses and their gradients must be finite", losses, weights)
        trained = trained_groups(group_loss, labels)
        if trained.shape != (groups,) or trained.dtype != torch.bool:
            raise ValueError("`loss_type`: its attribute `trained_groups` must turn labels (N, G) into booleans (N,).")
        moved = weights.abs().amax(dim=1) > 0
        if (moved & ~trained).any():
            raise _broken(
                "it has a gradient in a group that is not trained; set its attribute `trained_groups`, a function of "
                f"labels (N, G) to booleans (N,). Labels: {labels[moved & ~trained][0].tolist()}"
            )
        if scale and not moved[trained].any():
            raise _broken("its gradient with respect to the scores is 0 in every group")
        alone = torch.cat([_run(group_loss, scores[[n]], labels[[n]])[0] for n in range(groups)])
        if not torch.allclose(losses, alone, atol=1e-5):
            raise _broken("the loss of a group must depend on that group alone", losses, alone)


def _run(group_loss: GroupFunction, scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and weights of a call that did not fail and gave one loss for each group."""
    try:
        losses = group_loss(scores, labels)
        shape = tuple(losses.shape)
    except Exception as error:  # whatever the function raises
        raise ValueError(f"`loss_type`: the function failed ({type(error).__name__}: {error}).") from error
    if shape != (len(labels),):
        raise _broken(f"it must return one loss per group, of shape ({len(labels)},), and returned {shape}")
    return losses_and_weights(group_loss, scores, labels)


def _broken(what: str, *values: torch.Tensor) -> ValueError:
    found = "".join(f" Found {value.tolist()}." for value in values)
    return ValueError(
        f"`loss_type`: {what}. The function takes scores and labels (N, G) and returns losses (N,).{found}"
    )


def check_labels(labels: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    """
    The labels (P, G) that the user's function made of rewards, float32.

    Raises:
        `ValueError`: If their shape is not that of the rewards, or one is neither 1, 0 nor NaN.
    """
    labels = torch.as_tensor(labels, dtype=torch.float32, device=rewards.device)
    if labels.shape != rewards.shape:
        raise ValueError(
            f"`label_func`: it must return labels of the shape of the rewards, {tuple(rewards.shape)}, and returned "
            f"{tuple(labels.shape)}."
        )
    wrong = labels[(labels != 1) & (labels != 0) & ~labels.isnan()]
    if wrong.numel():
        raise ValueError(f"`label_func`: labels must be 1, 0 or NaN (no label), and one is {wrong[0].item():g}.")
    return labels


def check_label_func(label_func: GroupFunction) -> None:
    """Runs a label function on small random rewards. Raises `ValueError` as [`check_labels`], or if it fails."""
    rewards = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    rewards[0, 0] = torch.nan
    try:
        labels = label_func(rewards)
    except Exception as error:  # whatever the function raises
        raise ValueError(f"`label_func`: the function failed ({type(error).__name__}: {error}).") from error
    check_labels(labels, rewards)
