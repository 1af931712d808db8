"""One run in several processes, started by `torchrun` or `accelerate launch`. With one process, everything here does nothing.

Each process takes its share of every batch and computes its *part* of the batch's loss. The parts, and the gradients of the
weights, add up to those of one process with the whole batch. Batch normalisation sees the whole batch too.

DistributedDataParallel is not used: it would reduce after each of the passes that a step accumulates, and would have to search
for the weights that a sampled width leaves out. Gradients are summed once a step instead, in one buffer. torch's SyncBatchNorm
runs on accelerators alone; the one here also runs on CPUs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self, cast

import torch
from accelerate import PartialState
from accelerate.utils import gather, gather_object, reduce
from torch import Tensor, nn

from nas_client.data.loading import Share
from nas_client.errors import ProcessesError


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
    """The sum over processes. The gradient is summed too, because the loss of every process depends on the sum."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _over_processes(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _over_processes(gradients[0])


def _over_processes(tensor: Tensor) -> Tensor:
    summed = tensor.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(summed)
    return summed


def _sum(tensor: Tensor) -> Tensor:
    return cast("Tensor", _Sum.apply(tensor))  # type: ignore[no-untyped-call]


class Processes:
    """This process among those of the run.

    Attributes:
        share: which part of every batch this process takes.
        device: where it computes.
    """

    def __init__(self) -> None:
        self._state = PartialState(cpu=not torch.accelerator.is_available())
        self.share = Share(self._state.process_index, self._state.num_processes)
        self.device: torch.device = self._state.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and speaks to people."""
        return bool(self._state.is_main_process)

    @property
    def several(self) -> bool:
        """Whether the run has several processes."""
        return self.share.ranks > 1

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module on this device; in several processes, its batch normalisation over all of them."""
        module.to(self.device)
        return synchronize_batch_norm(module) if self.several else module

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes added up, without gradients. Shape: as the tensor's."""
        summed: Tensor = reduce(tensor.detach(), "sum") if self.several else tensor.detach()
        return summed

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes joined along the first dimension, without gradients."""
        gathered: Tensor = gather(tensor.detach()) if self.several else tensor.detach()
        return gathered

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes, in place. Which tensors have one must agree."""
        if not self.several:
            return
        self.sum_in_place([tensor.grad for tensor in parameters if tensor.grad is not None])

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by the sum over all processes; one message for all tensors."""
        if not self.several or not tensors:
            return
        flat = self.sum(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set anywhere: all processes get the same answer."""
        return bool(self.sum(torch.tensor(int(flag), device=self.device))) if self.several else flag

    def require_same(self, what: str, value: str) -> None:
        """Check that a text is the same in all processes.

        Raises:
            ProcessesError: it differs; lists the text of each process.
        """
        if not self.several:
            return
        values: list[str] = gather_object([value])
        if len(set(values)) > 1:
            listed = ", ".join(f"process {rank}: {found}" for rank, found in enumerate(values))
            raise ProcessesError(f"{what} differs between processes: {listed}", hint="Give every process the same.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the process group, also after an error: a process that ends within it can hang or abort."""
        self._state.destroy_process_group()

    def wait(self) -> None:
        """Wait until all processes are here."""
        self._state.wait_for_everyone()
