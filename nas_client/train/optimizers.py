"""The optimisers that configurations name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.spaces.search_defaults import Stepping


def optimizer_of(settings: Stepping, parameters: Sequence[Tensor], *, foreach: bool | None = None) -> torch.optim.Optimizer:
    """The optimiser of those parameters, at the learning rate of the start.

    Args:
        settings: which, and its constants.
        parameters: what it steps.
        foreach: whether all tensors are taken at once, as is faster where they are many and small; torch decides where None.
    """
    decay = settings.weight_decay
    if settings.method == "adam":
        return torch.optim.Adam(parameters, settings.lr, settings.betas, weight_decay=decay, foreach=foreach)
    return torch.optim.SGD(parameters, settings.lr, settings.momentum, weight_decay=decay, foreach=foreach)
