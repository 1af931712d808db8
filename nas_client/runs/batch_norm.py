"""Batch normalisation over the batch of all processes.

torch's SyncBatchNorm runs on accelerators alone; this one runs wherever processes can talk, so that a run of several processes
is the run of one with the combined batch, on a CPU too.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """As BatchNorm2d, but in training with mean and variance over the maps of every process.

    Shape: (N, C, H, W); every process has the same N, H and W.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        ranks = torch.distributed.get_world_size()
        mean = _sum(wide.mean((0, 2, 3))) / ranks
        centred = wide - mean[:, None, None]
        variance = _sum(centred.square().mean((0, 2, 3))) / ranks
        self._track(mean.detach(), variance.detach(), ranks * x.numel() // x.shape[1])
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, values: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (values / max(1, values - 1)), share)  # unbiased, as torch keeps it


def synchronize_batch_norm(module: nn.Module) -> nn.Module:
    """The module with every BatchNorm2d in it synchronised, in place; parameters and buffers stay the same objects."""
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SynchronizedBatchNorm2d  # same state, another forward
    return module


class _Sum(torch.autograd.Function):
    """Of everybody's tensors; so is the gradient, because everybody's loss depends on the sum."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _everybodys(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _everybodys(gradients[0])


def _everybodys(tensor: Tensor) -> Tensor:
    summed = tensor.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(summed)
    return summed


def _sum(tensor: Tensor) -> Tensor:
    return cast("Tensor", _Sum.apply(tensor))  # type: ignore[no-untyped-call]
