"""How primitives are written in ONNX, batch normalisation folded into the convolution before it; those that our kinds use.

One emitter per primitive. Those of layers and functions that only plugins' kinds use are in `layer_emitters`,
`tensor_emitters` and `shape_emitters`. Everything stays within what TensorRT's parser takes: static shapes, `Resize` over all
four dimensions by constant sizes, weights as initialisers.

::

    ExportError
    └── UnsupportedPrimitiveError   no emitter knows a layer or function of the module, or an option of one
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from models.export.graph_builder import GraphBuilder, Value
from models.operators.joins import Part
from models.operators.layers import BILINEAR, Resize
from models.spec.errors import OpclockError


class ExportError(OpclockError):
    """The root of this package's errors."""


class UnsupportedPrimitiveError(ExportError):
    """A module uses a layer or function, or an option of one, that nothing emits."""


@torch.no_grad()
def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution that equals the two layers in evaluation mode.

    Shape: (out_channels, in_channels / groups, K, K) and (out_channels,).
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise TypeError("batch normalisation without running statistics cannot be folded")
    deviation = torch.sqrt(variance + norm.eps)
    scale = 1 / deviation if norm.weight is None else norm.weight / deviation
    bias = -mean * scale if norm.bias is None else norm.bias - mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    return conv.weight * scale[:, None, None, None], bias


def foldable(graph: fx.Graph, layers: dict[str, nn.Module]) -> dict[fx.Node, fx.Node]:
    """Each convolution whose only reader is a batch normalisation with statistics, to that reader."""
    pairs = {}
    for node in graph.nodes:
        if node.op == "call_module" and type(norm := layers[node.target]) is nn.BatchNorm2d and norm.running_var is not None:
            (source,) = node.all_input_nodes
            if source.op == "call_module" and type(layers[source.target]) is nn.Conv2d and len(source.users) == 1:
                pairs[source] = node
    return pairs


Emitter = Callable[..., Any]
"""Gives values, or what Python computes of shapes alone."""

AnyEmitter = TypeVar("AnyEmitter", bound=Emitter)

MODULES: dict[type[nn.Module], Emitter] = {}
"""By layer type: `emitter(builder, layer, x)`."""

FUNCTIONS: dict[Callable[..., Any] | str, Emitter] = {}
"""By function, or by name of a tensor's method: `emitter(builder, *arguments)`, with the function's own names. Tensors that
depend on the input are values among the arguments; everything else is what it is in Python: numbers, shapes, weights."""


def emits(*primitives: Any) -> Callable[[AnyEmitter], AnyEmitter]:
    """Make the decorated function the emitter of those layer types, functions, and methods (by name)."""

    def add(emitter: AnyEmitter) -> AnyEmitter:
        for primitive in primitives:
            registry: dict[Any, Emitter] = MODULES if isinstance(primitive, type) else FUNCTIONS
            registry[primitive] = emitter
        return emitter

    return add


@emits(nn.Conv2d)
def convolution(builder: GraphBuilder, conv: nn.Conv2d, x: Value, norm: nn.BatchNorm2d | None = None) -> Value:
    """A convolution. A batch normalisation that follows it is folded in."""
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise UnsupportedPrimitiveError(f"convolutions with padding {conv.padding!r}, {conv.padding_mode!r} cannot be exported")
    weight, bias = (conv.weight, conv.bias) if norm is None else folded(conv, norm)
    inputs: list[Value | str] = [x, builder.weight("weight", weight)]
    if bias is not None:
        inputs.append(builder.weight("bias", bias))
    sides = zip(x.shape[2:], conv.kernel_size, conv.stride, conv.padding, conv.dilation, strict=True)
    spatial = ((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in sides)
    return builder.node(
        "Conv",
        inputs,
        (x.shape[0], conv.out_channels, *spatial),
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        pads=[*conv.padding, *conv.padding],
        dilations=list(conv.dilation),
        group=conv.groups,
    )


@emits(nn.ReLU)
def _relu(builder: GraphBuilder, _layer: nn.ReLU, x: Value) -> Value:
    return builder.node("Relu", [x], x.shape)


@emits(nn.Identity, nn.Dropout, nn.Dropout2d)
def _identity(_builder: GraphBuilder, _layer: nn.Module, x: Value) -> Value:
    return x


@emits(Resize)
def _resize(builder: GraphBuilder, layer: Resize, x: Value) -> Value:
    return resized(builder, x, layer.size, mode=layer.mode, align_corners=layer.align_corners)


def _nearest(given: int, wanted: int) -> tuple[int, ...]:
    """The pixels that torch takes along a side, computed as it does: o · (given/wanted), in single precision."""
    step = np.float32(given) / np.float32(wanted)
    return _pixels(np.arange(wanted, dtype=np.float32) * step, given)


def _nearest_by_quotient(given: int, wanted: int) -> tuple[int, ...]:
    """Those that ONNX Runtime takes: o / (wanted/given)."""
    step = np.float32(wanted) / np.float32(given)
    return _pixels(np.arange(wanted, dtype=np.float32) / step, given)


def _pixels(places: NDArray[np.float32], given: int) -> tuple[int, ...]:
    return tuple(int(pixel) for pixel in np.minimum(np.floor(places), given - 1))


def resized(builder: GraphBuilder, x: Value, size: tuple[int, int], *, mode: str, align_corners: bool) -> Value:
    """A map brought to that height and width; `mode` is `bilinear` or `nearest`."""
    shape = (*x.shape[:2], *size)
    if mode == BILINEAR:
        transformation = "align_corners" if align_corners else "half_pixel"
        how = {"mode": "linear", "coordinate_transformation_mode": transformation}
    elif any(_nearest(*sides) != _nearest_by_quotient(*sides) for sides in zip(x.shape[2:], size, strict=True)):
        for axis, (given, wanted) in enumerate(zip(x.shape[2:], size, strict=True), start=2):
            if given == wanted:
                continue
            sides = (*x.shape[:axis], wanted, *x.shape[axis + 1 :])
            x = builder.node("Gather", [x, builder.integers("pixels", _nearest(given, wanted))], sides, axis=axis)
        return x
    else:
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return builder.node("Resize", [x, "", "", builder.integers("sizes", shape)], shape, **how)


@emits(torch.cat)
def _concatenate(builder: GraphBuilder, tensors: Sequence[Value | Tensor], dim: int = 0) -> Value:
    maps = [builder.operand(tensor) for tensor in tensors]
    shape = list(maps[0].shape)
    shape[dim] = sum(x.shape[dim] for x in maps)
    return builder.node("Concat", maps, tuple(shape), axis=dim)


@emits(Part)
def _part(builder: GraphBuilder, layer: Part, x: Value) -> Value:
    height, width = (1, 1) if layer.one_pixel else x.shape[2:]
    starts = builder.integers("starts", (layer.start, 0, 0))
    ends = builder.integers("ends", (layer.stop, height, width))
    axes = builder.integers("axes", (1, 2, 3))
    return builder.node("Slice", [x, starts, ends, axes], (x.shape[0], layer.stop - layer.start, height, width))
