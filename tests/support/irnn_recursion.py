"""The ReLU recurrence as M-FasterSeg's eq. 4 is written: position by position, each map at a position read by its index."""

from __future__ import annotations

import torch
from torch import Tensor

from models.operators.recurrence import Direction


def sequential(x: Tensor, direction: Direction) -> Tensor:
    """h_t = max(h_{t−1} + x_t, 0), from h = 0. Shape: (…, H, W)."""
    length = x.shape[direction.dim]
    h, found = torch.zeros(()), [x] * length
    for t in range(length) if direction.forward else reversed(range(length)):
        h = torch.relu(h + x.select(direction.dim, t))
        found[t] = h
    return torch.stack(found, direction.dim)
