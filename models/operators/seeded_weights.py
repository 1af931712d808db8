"""Seeded weights and inputs at the speed of copying memory.

Profiling builds hundreds of operators whose weights only have to be plausible and reproducible, so no number is drawn
for any of them: every tensor is a stretch of one pool of normal values, scaled. Where the stretch begins follows from
a seed key, hence the same key gives the same weights in every process and on every machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

POOL_SIZE = 1_048_583
"""A prime, so that a tensor larger than the pool does not repeat in step with its rows."""

_POOL_SEED = 20_200_426

Module = TypeVar("Module", bound=nn.Module)


@cache
def _pool() -> NDArray[np.float32]:
    return np.random.default_rng(_POOL_SEED).standard_normal(POOL_SIZE, dtype=np.float32)


@runtime_checkable
class Seeded(Protocol):
    """A module that brings its weights to a size that training would, once it has been given some."""

    def after_fill(self) -> None:
        """Changes its weights in place."""


class _NormalStream:
    """Standard normal values, one stretch of the pool after another."""

    def __init__(self, seed_key: str) -> None:
        digest = hashlib.sha256(seed_key.encode()).digest()
        self._position = int.from_bytes(digest[:8], "big") % POOL_SIZE
        self._pool = torch.from_numpy(_pool())

    def fill(self, tensor: Tensor, *, mean: float = 0.0, std: float = 1.0) -> None:
        """Overwrite a contiguous tensor with the next values, scaled and shifted."""
        flat = tensor.view(-1)
        done = 0
        while done < flat.numel():
            count = min(flat.numel() - done, POOL_SIZE - self._position)
            torch.mul(self._pool[self._position : self._position + count], std, out=flat[done : done + count])
            self._position = (self._position + count) % POOL_SIZE
            done += count
        if mean:
            flat.add_(mean)


@contextmanager
def seeded(seed_key: str) -> Iterator[None]:
    """Within it torch's random numbers on the CPU follow from the key; afterwards they go on as before."""
    seed = int.from_bytes(hashlib.sha256(f"torch {seed_key}".encode()).digest()[:8], "big", signed=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def fill(module: Module, seed_key: str) -> Module:
    """Give the module seeded weights, on the CPU, and put it in evaluation mode. A module on `meta` is materialised first.

    Convolutions and linear layers get a variance of 2 / fan-in, so that signals keep their size through ReLUs. Batch
    normalisation gets statistics and an affine part that differ from channel to channel, so that an error in folding
    it shows. A part that is `Seeded` then changes its own.

    Args:
        module: changed in place. Layers other than convolutions, linear layers and batch normalisation keep the weights that
            they were made with.
        seed_key: names the weights; usually a spec's `key()`.

    Returns:
        The same module.

    Raises:
        TypeError: a layer that would keep its weights has none, since it is on `meta`.
    """
    if on_meta := any(parameter.is_meta for parameter in module.parameters()):
        module.to_empty(device="cpu")
    stream = _NormalStream(seed_key)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            stream.fill(layer.weight, std=math.sqrt(2 / fan_in))
            if layer.bias is not None:
                stream.fill(layer.bias, std=0.1)
        elif isinstance(layer, nn.BatchNorm2d):
            _fill_batch_norm(layer, stream)
        elif on_meta and next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(f"no rule gives weights to a layer of type {type(layer).__name__}")
    for part in module.modules():
        if isinstance(part, Seeded):
            part.after_fill()
    return module.eval()


@torch.no_grad()
def adopt_scales(module: nn.Module, x: Tensor) -> None:
    """Scale the statistics of batch normalisations to the maps that they get for that input, as a training does.

    Without this, maps grow with every sum that no normalisation follows: seeded networks of SEARCH-Net reached 1e5, beyond
    float16, and gates of such maps turned rounding into errors of 1 %. One factor is taken for all channels of a layer, so that
    maps of few pixels do, too.

    Args:
        module: changed in place; filled.
        x: its input.
    """

    def adopt(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
            square = max(float(inputs[0].square().mean()), layer.eps)
            layer.running_mean.mul_(math.sqrt(square))
            layer.running_var.mul_(square)

    handles = [part.register_forward_pre_hook(adopt) for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    try:
        module(x)
    finally:
        for handle in handles:
            handle.remove()


def _fill_batch_norm(layer: nn.BatchNorm2d, stream: _NormalStream) -> None:
    mean, variance, count = layer.running_mean, layer.running_var, layer.num_batches_tracked
    if mean is None or variance is None or count is None:
        raise TypeError("batch normalisation without running statistics has no weights to give")
    if layer.affine:
        stream.fill(layer.weight, mean=1.0, std=0.1)
        stream.fill(layer.bias, std=0.1)
    stream.fill(mean, std=0.1)
    stream.fill(variance, mean=1.0, std=0.1)
    variance.square_()
    count.zero_()


def random_input(shape: tuple[int, ...], seed_key: str) -> NDArray[np.float32]:
    """A standard normal array of that shape; the same for the same seed key, and unlike the weights of that key."""
    tensor = torch.empty(shape)
    _NormalStream(f"input {seed_key}").fill(tensor)
    array: NDArray[np.float32] = tensor.numpy()
    return array
