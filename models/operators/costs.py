"""What an operator costs in arithmetic and weights, and how far it sees, found on its module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from models.operators.joins import Add, Concat
from models.operators.layers import BILINEAR, Resize, build_operator
from models.spec.operators import OperatorSpec


@dataclass(frozen=True)
class Costs:
    """Arithmetic and weights, for the batch of the spec they were counted for.

    FasterSeg uses two conventions, so both are counted. Its Table 1 counts only convolutions (1.21, 0.60, 0.30 G).
    Its Table 3 gives the published student 28.2 G, of which convolutions make up 27.8; how the rest was counted it does
    not say. Customary numbers for the other layers of the network as trained come to 28.19 G: for each element written,
    2 for batch normalisation (scale, shift), 1 for a ReLU, 4 for a bilinear resize (a weighted sum of four neighbours).

    Attributes:
        macs: multiply-adds of all layers, those others included; the published student has 28.2 G.
        convolution_macs: multiply-adds only of convolutions and linear layers; the published student has 27.8 G.
        flops: (2·Cin·K² − 1)·H·W·Cout of each convolution. Source: M-FasterSeg eq. 19.
        parameters: weights and biases, those of batch normalisation included.
    """

    macs: int = 0
    convolution_macs: int = 0
    flops: int = 0
    parameters: int = 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def _weighted(layer: nn.Conv2d | nn.Linear, y: Tensor) -> Costs:
    products = layer.weight[0].numel()
    macs = products * y.numel()
    return Costs(macs=macs, convolution_macs=macs, flops=(2 * products - 1) * y.numel())


def _per_element(macs: int, _layer: nn.Module, y: Tensor) -> Costs:
    return Costs(macs=macs * y.numel())


def _resize(layer: Resize, y: Tensor) -> Costs:
    return Costs(macs=4 * y.numel() if layer.mode == BILINEAR else 0)


_COUNTERS: dict[type[nn.Module], Callable[[Any, Tensor], Costs]] = {
    nn.Conv2d: _weighted,
    nn.Linear: _weighted,
    nn.BatchNorm2d: partial(_per_element, 2),
    nn.Identity: partial(_per_element, 0),
    Add: partial(_per_element, 0),
    Concat: partial(_per_element, 0),
    Resize: _resize,
}
_WITHOUT_WEIGHTS = partial(_per_element, 1)


def module_costs(module: nn.Module, *input_shapes: tuple[int, ...]) -> Costs:
    """The costs of a module on `meta` for inputs of those shapes, as counted at its layers.

    A layer without weights and without a rule of its own counts 1 for each element that it writes. Adding maps and
    concatenating them count as nothing.

    Raises:
        TypeError: no rule counts a layer that has weights.
    """
    layers = [layer for layer in module.modules() if next(layer.children(), None) is None]
    counted = [Costs(parameters=sum(parameter.numel() for parameter in module.parameters()))]

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counted.append(_COUNTERS.get(type(layer), _WITHOUT_WEIGHTS)(layer, output))

    for layer in layers:
        if type(layer) not in _COUNTERS and next(layer.parameters(), None) is not None:
            raise TypeError(f"no rule counts the costs of a layer of type {type(layer).__name__}")
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        module.eval()(*(torch.empty(shape, device="meta") for shape in input_shapes))
    for hook in hooks:
        hook.remove()
    return sum(counted, Costs())


@lru_cache(maxsize=4096)
def operator_costs(spec: OperatorSpec) -> Costs:
    """The costs of one operator at its batch."""
    with torch.device("meta"):
        module = build_operator(spec)
    return module_costs(module, *spec.source_shapes)


_RELEVANT = 1e-5
"""Share of the largest derivative below which one is a rounding error of where a resize looks."""


def receptive_field(spec: OperatorSpec) -> tuple[int, int]:
    """Height and width of the smallest rectangle that holds every input pixel that an output pixel depends on.

    The largest found along the output's central column and row: where a resize looks between pixels, outputs differ. Channels
    do not change it, so that as few as the groups allow are used.
    """
    channels = int(spec.attributes.get("groups", 1))
    narrow = OperatorSpec.parse(
        {**spec.model_dump(), "in_channels": channels, "out_channels": channels, "batch": 1, "dtype": "float32"}
    )
    module = _all_open(build_operator(narrow))
    _, _, height, width = narrow.output_shape
    rows = [(row, width // 2) for row in range(height)]
    columns = [(height // 2, column) for column in range(width)]
    sees = _dependence(module, narrow, rows + columns)
    return _widest(sees[:height].any(dim=2)), _widest(sees[height:].any(dim=1))


def _all_open(module: nn.Module) -> nn.Module:
    """The module with weights that let every pixel through: all equal and positive, so that no ReLU closes, nothing cancels."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module.eval()


def _dependence(module: nn.Module, spec: OperatorSpec, outputs: list[tuple[int, int]]) -> Tensor:
    """Which input pixels each of these output pixels depends on. Shape: (outputs, H, W)."""
    x = torch.ones(len(outputs), *spec.input_shape[1:], requires_grad=True)
    y = module(x)
    wanted = torch.zeros_like(y)
    for index, (row, column) in enumerate(outputs):
        wanted[index, :, row, column] = 1
    (derivative,) = torch.autograd.grad(y, x, wanted)
    size = derivative.abs().sum(dim=1)
    return size > _RELEVANT * size.amax(dim=(1, 2), keepdim=True)


def _widest(sees: Tensor) -> int:
    """The longest stretch from first to last. Shape: (outputs, pixels)."""
    ends = [seen.nonzero() for seen in sees]
    return max(int(found.max() - found.min()) + 1 for found in ends)
