"""Custom functions of a group: a loss in place of Eq. 8, labels in place of a threshold.

A function, or its import path, is tested on small random groups; errors say which part of its contract it breaks. The
trainer uses it like the built-in losses.
"""

import importlib
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, cast

import torch

from .losses import losses_and_weights, mixed_groups


GroupFunction = Callable[..., torch.Tensor]


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
        return cast(GroupFunction, value)
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
    return cast(GroupFunction, function)


def name_of(value: Any) -> Any:
    """The import path of a function; anything else as it is."""
    if not callable(value):
        return value
    return f"{value.__module__}:{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)


def trained_groups(group_loss: GroupFunction, labels: torch.Tensor) -> torch.Tensor:
    """
    Which groups (N,) have a gradient: those that `group_loss.trained_groups(labels)` marks or, without that attribute,
    those with both correct and incorrect rollouts.
    """
    return getattr(group_loss, "trained_groups", mixed_groups)(labels)


def check_group_loss(group_loss: GroupFunction, size: int) -> None:
    """
    Tests a loss, scores and labels (N, G) to losses (N,), on random groups of this size.

    Raises:
        `ValueError`: If its shape is not `(N,)`, a loss or a gradient is not finite, the loss of a group depends on
        another group, no gradient reaches the scores of a trained group, or one reaches a rollout without a label or a
        group that is not trained.
    """
    labels = _trial_labels(size)
    trained = _trained_in_trial(group_loss, labels)
    for scale in (0.0, 0.5):  # every score is 0 in the first step of a generation
        scores = scale * torch.randn(labels.shape, generator=torch.Generator().manual_seed(0))
        losses, weights = _run(group_loss, scores, labels)
        alone = torch.cat([_run(group_loss, scores[[n]], labels[[n]])[0] for n in range(len(labels))])
        moved = weights != 0
        wrong = {
            "its losses and their gradients must be finite": ~(losses.isfinite() & weights.isfinite().all(dim=1)),
            "the loss of a group must depend on that group alone": ~losses.isclose(alone, rtol=1e-4, atol=1e-5),
            "it has a gradient in a rollout without a label (NaN)": (moved & labels.isnan()).any(dim=1),
            "it has a gradient in a group that is not trained; set its attribute `trained_groups`, a function of "
            "labels (N, G) to booleans (N,)": moved.any(dim=1) & ~trained,
        }
        for what, groups in wrong.items():
            if groups.any():
                n = int(groups.nonzero()[0])
                found = f"loss {losses[n]:g} (alone {alone[n]:g}), gradient {weights[n].tolist()}"
                raise _broken(f"{what}. Labels {labels[n].tolist()}: {found}")
        if scale and size > 1 and not moved[trained].any():
            raise _broken("its gradient with respect to the scores is 0 in every group")


def _trial_labels(size: int) -> torch.Tensor:
    """Every kind of group: mixed, with unlabelled rollouts, of one class, without any label."""
    labels = torch.full((7, size), torch.nan)
    labels[0] = torch.arange(size) % 2
    labels[1:3, 0], labels[2, 1:2] = 1.0, 0.0
    labels[3], labels[3, -1] = 0.0, 1.0
    labels[4], labels[5] = 1.0, 0.0
    return labels


def _trained_in_trial(group_loss: GroupFunction, labels: torch.Tensor) -> torch.Tensor:
    """Which groups are trained; checks that it is one boolean for each."""
    try:
        trained = trained_groups(group_loss, labels.clone())
        right = trained.shape == (len(labels),) and trained.dtype == torch.bool
    except Exception as error:  # whatever the function raises
        raise ValueError(
            f"`loss_type`: its attribute `trained_groups` failed ({type(error).__name__}: {error})."
        ) from error
    if not right:
        raise ValueError("`loss_type`: its attribute `trained_groups` must turn labels (N, G) into booleans (N,).")
    return trained


def _run(group_loss: GroupFunction, scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and weights of a call; checks that it does not fail and returns one loss for each group."""
    try:
        shape = tuple(group_loss(scores, labels.clone()).shape)
    except Exception as error:  # whatever the function raises
        raise ValueError(f"`loss_type`: the function failed ({type(error).__name__}: {error}).") from error
    if shape != (len(labels),):
        raise _broken(f"it returned shape {shape} for {len(labels)} groups")
    return losses_and_weights(group_loss, scores, labels.clone())


def _broken(what: str) -> ValueError:
    return ValueError(f"`loss_type`: the function takes scores and labels (N, G) and returns losses (N,), but {what}.")


def make_labels(label_func: GroupFunction, rewards: torch.Tensor) -> torch.Tensor:
    """
    The labels (P, G), float32, that a custom function returns for rewards.

    Raises:
        `ValueError`: If their shape is not that of the rewards, or one is neither 1, 0 nor NaN.
    """
    labels = torch.as_tensor(label_func(rewards.clone()), dtype=torch.float32, device=rewards.device)
    if labels.shape != rewards.shape:
        raise ValueError(
            f"`label_func`: it must return labels of the shape of the rewards, {tuple(rewards.shape)}, and returned "
            f"{tuple(labels.shape)}."
        )
    wrong = labels[(labels != 1) & (labels != 0) & ~labels.isnan()]
    if wrong.numel():
        raise ValueError(f"`label_func`: labels must be 1, 0 or NaN (no label), and one is {wrong[0].item():g}.")
    return labels


def check_label_func(label_func: GroupFunction, size: int) -> None:
    """Tests a label function on random rewards of groups of this size. Raises `ValueError` like [`make_labels`]."""
    rewards = torch.rand(3, size, generator=torch.Generator().manual_seed(0))
    rewards[0, 0] = torch.nan
    try:
        label_func(rewards.clone())
    except Exception as error:  # whatever the function raises
        raise ValueError(f"`label_func`: the function failed ({type(error).__name__}: {error}).") from error
    first, second = make_labels(label_func, rewards), make_labels(label_func, rewards)
    if not torch.equal(first.nan_to_num(-1.0), second.nan_to_num(-1.0)):
        raise ValueError("`label_func`: it must return the same labels for the same rewards: every process calls it.")
