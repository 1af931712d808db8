"""One run in several processes, started by `torchrun` or `accelerate launch`; alone, everything here does nothing.

Each process takes its share of every batch and computes its *part* of the batch's loss; parts, and the gradients of the
weights, add up to those of one process with the whole batch. Batch normalisation is made to see the whole batch too.

DistributedDataParallel is not used: it would reduce after each of the passes that a step accumulates, and would have to search
for the weights that a sampled width leaves out. Gradients are summed once a step instead, in one buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import torch
from accelerate import PartialState
from accelerate.utils import gather, gather_object, reduce
from torch import Tensor, nn

from nas_client.data.loading import Share
from nas_client.errors import ProcessesError
from nas_client.runs.batch_norm import synchronize_batch_norm


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
        """Whether there are others."""
        return self.share.ranks > 1

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module on this device; in several processes, its batch normalisation over all of them."""
        module.to(self.device)
        return synchronize_batch_norm(module) if self.several else module

    def sum(self, tensor: Tensor) -> Tensor:
        """Everybody's tensors added up, without gradients. Shape: as the tensor's."""
        summed: Tensor = reduce(tensor.detach(), "sum") if self.several else tensor.detach()
        return summed

    def gather(self, tensor: Tensor) -> Tensor:
        """Everybody's tensors one after the other along the first dimension, without gradients."""
        gathered: Tensor = gather(tensor.detach()) if self.several else tensor.detach()
        return gathered

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes, in place. Which tensors have one must agree."""
        if not self.several:
            return
        self.sum_in_place([tensor.grad for tensor in parameters if tensor.grad is not None])

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by the sum of everybody's; one message for all of them."""
        if not self.several or not tensors:
            return
        flat = self.sum(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set anywhere: all processes get the same answer."""
        return bool(self.sum(torch.tensor(int(flag), device=self.device))) if self.several else flag

    def require_same(self, what: str, value: str) -> None:
        """Compare a text across processes.

        Raises:
            ProcessesError: it differs; says who has what.
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
        """Leave the group, whatever happened: a process that ends within it can hang or abort."""
        self._state.destroy_process_group()

    def wait(self) -> None:
        """Until everybody is here."""
        self._state.wait_for_everyone()
