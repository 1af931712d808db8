"""How far an output pixel sees, found by differentiating the operator's module, whatever its graph is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.operators.registry import build_operator
from models.spec.operators import OperatorSpec

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
