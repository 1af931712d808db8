"""How further layers of torch.nn are written in ONNX: what plugins' kinds may consist of besides what ours do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from models.export.emitters import UnsupportedPrimitiveError, emits
from models.export.graph_builder import GraphBuilder, Value
from models.export.tensor_emitters import activation, linear, multiply, pad, reshaped, softmax
from models.operators.recurrence import DIRECTIONS, Direction, FourDirections, shifts

Pair = int | tuple[int, int]


def pair(value: Pair) -> tuple[int, int]:
    """Height and width of what torch takes as one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@emits(nn.Linear)
def _linear(builder: GraphBuilder, layer: nn.Linear, x: Value) -> Value:
    return linear(builder, x, layer.weight, layer.bias)


@emits(nn.ConvTranspose2d)
def _transposed_convolution(builder: GraphBuilder, conv: nn.ConvTranspose2d, x: Value) -> Value:
    if isinstance(conv.padding, str):
        raise UnsupportedPrimitiveError(f"transposed convolutions with padding {conv.padding!r} cannot be exported")
    inputs: list[Value | str] = [x, builder.weight("weight", conv.weight)]
    if conv.bias is not None:
        inputs.append(builder.weight("bias", conv.bias))
    sides = zip(x.shape[2:], conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.output_padding, strict=True)
    spatial = ((side - 1) * s - 2 * p + d * (k - 1) + 1 + extra for side, k, s, p, d, extra in sides)
    return builder.node(
        "ConvTranspose",
        inputs,
        (x.shape[0], conv.out_channels, *spatial),
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        pads=[*conv.padding, *conv.padding],
        dilations=list(conv.dilation),
        output_padding=list(conv.output_padding),
        group=conv.groups,
    )


@emits(nn.BatchNorm2d)
def _batch_norm(builder: GraphBuilder, norm: nn.BatchNorm2d, x: Value) -> Value:
    """One that stands behind no convolution of its own."""
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedPrimitiveError("batch normalisation without running statistics cannot be exported")
    scale = torch.ones(norm.num_features) if norm.weight is None else norm.weight
    bias = torch.zeros(norm.num_features) if norm.bias is None else norm.bias
    parts = {"scale": scale, "bias": bias, "mean": norm.running_mean, "variance": norm.running_var}
    weights = [builder.weight(name, tensor) for name, tensor in parts.items()]
    return builder.node("BatchNormalization", [x, *weights], x.shape, epsilon=norm.eps)


@emits(nn.LayerNorm)
def _layer_norm(builder: GraphBuilder, norm: nn.LayerNorm, x: Value) -> Value:
    scale = torch.ones(norm.normalized_shape) if norm.weight is None else norm.weight
    inputs: list[Value | str] = [x, builder.weight("scale", scale)]
    if norm.bias is not None:
        inputs.append(builder.weight("bias", norm.bias))
    return builder.node("LayerNormalization", inputs, x.shape, axis=-len(norm.normalized_shape), epsilon=norm.eps)


@emits(nn.Softmax)
def _softmax(builder: GraphBuilder, layer: nn.Softmax, x: Value) -> Value:
    if layer.dim is None:
        raise UnsupportedPrimitiveError("a softmax without dim cannot be exported")
    return softmax(builder, x, layer.dim)


@emits(nn.Sigmoid, nn.Tanh, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid)
def _activation(builder: GraphBuilder, layer: nn.Module, x: Value) -> Value:
    return activation(builder, type(layer).__name__, x)


@emits(nn.Flatten)
def _flatten(builder: GraphBuilder, layer: nn.Flatten, x: Value) -> Value:
    shape = torch.empty(x.shape, device="meta").flatten(layer.start_dim, layer.end_dim).shape
    return reshaped(builder, x, tuple(shape))


@emits(nn.ZeroPad2d, nn.ConstantPad2d)
def _constant_pad(builder: GraphBuilder, layer: nn.ConstantPad2d, x: Value) -> Value:
    return pad(builder, x, layer.padding, "constant", layer.value)


@emits(nn.ReflectionPad2d)
def _reflection_pad(builder: GraphBuilder, layer: nn.ReflectionPad2d, x: Value) -> Value:
    return pad(builder, x, layer.padding, "reflect")


@emits(nn.ReplicationPad2d)
def _replication_pad(builder: GraphBuilder, layer: nn.ReplicationPad2d, x: Value) -> Value:
    return pad(builder, x, layer.padding, "replicate")


@emits(nn.MaxPool2d)
def _max_pool_layer(builder: GraphBuilder, layer: nn.MaxPool2d, x: Value) -> Value:
    return _max_pool(
        builder, x, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode, layer.return_indices
    )


@emits(functional.max_pool2d)
def _max_pool(
    builder: GraphBuilder,
    x: Value,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    if return_indices:
        raise UnsupportedPrimitiveError("max pooling that returns indices cannot be exported")
    return _pool(builder, "MaxPool", x, kernel_size, stride, padding, ceil_mode, dilation=dilation)


@emits(nn.AvgPool2d)
def _average_pool_layer(builder: GraphBuilder, layer: nn.AvgPool2d, x: Value) -> Value:
    kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
    return _average_pool(builder, x, kernel, stride, padding, layer.ceil_mode, layer.count_include_pad, layer.divisor_override)


@emits(functional.avg_pool2d)
def _average_pool(
    builder: GraphBuilder,
    input: Value,  # noqa: A002 - torch's name
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    if divisor_override is not None:
        raise UnsupportedPrimitiveError("average pooling with a divisor of its own cannot be exported")
    include = int(count_include_pad)
    return _pool(builder, "AveragePool", input, kernel_size, stride, padding, ceil_mode, count_include_pad=include)


def _pool(
    builder: GraphBuilder,
    op_type: str,
    x: Value,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Pair,
    ceil_mode: bool,
    *,
    dilation: Pair = 1,
    **attributes: Any,
) -> Value:
    if ceil_mode:  # torch and ONNX count the last window differently
        raise UnsupportedPrimitiveError("pooling with ceil_mode cannot be exported")
    kernel, pads, apart = pair(kernel_size), pair(padding), pair(dilation)
    strides = pair(stride or kernel_size)
    sides = zip(x.shape[2:], kernel, strides, pads, apart, strict=True)
    spatial = ((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in sides)
    if op_type == "MaxPool":
        attributes["dilations"] = list(apart)
    shape = (*x.shape[:2], *spatial)
    return builder.node(
        op_type, [x], shape, kernel_shape=list(kernel), strides=list(strides), pads=[*pads, *pads], **attributes
    )


@emits(nn.AdaptiveAvgPool2d)
def _adaptive_average_layer(builder: GraphBuilder, layer: nn.AdaptiveAvgPool2d, x: Value) -> Value:
    return _adaptive_average(builder, x, layer.output_size)


@emits(functional.adaptive_avg_pool2d)
def _adaptive_average(builder: GraphBuilder, input: Value, output_size: Pair | tuple[int | None, ...] | None) -> Value:  # noqa: A002
    if output_size in (1, (1, 1), [1, 1]):
        return builder.node("GlobalAveragePool", [input], (*input.shape[:2], 1, 1))
    sides = (output_size,) * 2 if output_size is None or isinstance(output_size, int) else output_size
    wanted = [side or given for side, given in zip(sides, input.shape[2:], strict=True)]
    if any(given % side for side, given in zip(wanted, input.shape[2:], strict=True)):
        raise UnsupportedPrimitiveError(f"average pooling from {input.shape[2:]} to {output_size} cannot be exported")
    kernel = tuple(given // side for side, given in zip(wanted, input.shape[2:], strict=True))
    return _average_pool(builder, input, (kernel[0], kernel[1]))


@emits(nn.AdaptiveMaxPool2d)
def _adaptive_maximum(builder: GraphBuilder, layer: nn.AdaptiveMaxPool2d, x: Value) -> Value:
    if layer.output_size not in (1, (1, 1)) or layer.return_indices:
        raise UnsupportedPrimitiveError(f"max pooling to {layer.output_size} cannot be exported, only to 1")
    return builder.node("GlobalMaxPool", [x], (*x.shape[:2], 1, 1))


@emits(FourDirections)
def _four_directions(builder: GraphBuilder, layer: FourDirections, x: Value, maps: Value | None = None) -> Value:
    """Without a loop: rounds of shifted additions and maxima (see `models.operators.recurrence`), or step by step."""
    count = len(DIRECTIONS)
    recurrences = _unrolled if builder.unrolled else _scanned
    if layer.shared:
        found = recurrences(builder, x, DIRECTIONS)
    else:
        parts = zip(_divided(builder, x, count), DIRECTIONS, strict=True)
        found = [h for part, to in parts for h in recurrences(builder, part, [to])]
    if maps is not None:
        found = [multiply(builder, h, weight) for h, weight in zip(found, _divided(builder, maps, count), strict=True)]
    shape = (x.shape[0], sum(h.shape[1] for h in found), *x.shape[2:])
    return builder.node("Concat", found, shape, axis=1)


def _divided(builder: GraphBuilder, x: Value, count: int, axis: int = 1) -> Sequence[Value]:
    """Equal parts of a map along that axis."""
    size = x.shape[axis] // count
    sizes = builder.integers("sizes", [size] * count)
    return builder.nodes("Split", [x, sizes], [(*x.shape[:axis], size, *x.shape[axis + 1 :])] * count, axis=axis)


def _unrolled(builder: GraphBuilder, x: Value, directions: Sequence[Direction]) -> list[Value]:
    """One position after the other; those of opposite directions are cut out once."""
    found, positions = [], dict[int, Sequence[Value]]()
    for direction in directions:
        axis = len(x.shape) + direction.dim
        if axis not in positions:
            positions[axis] = _divided(builder, x, x.shape[axis], axis)
        results: list[Value] = []
        for position in positions[axis][:: 1 if direction.forward else -1]:
            entering = builder.node("Add", [results[-1], position], position.shape) if results else position
            results.append(builder.node("Relu", [entering], position.shape))
        found.append(builder.node("Concat", results[:: 1 if direction.forward else -1], x.shape, axis=axis))
    return found


def _scanned(builder: GraphBuilder, x: Value, directions: Sequence[Direction]) -> list[Value]:
    return [_scan(builder, x, direction) for direction in directions]


def _scan(builder: GraphBuilder, x: Value, direction: Direction) -> Value:
    total, best = x, builder.node("Relu", [x], x.shape)
    rounds = list(shifts(x.shape[direction.dim], direction))
    for index, by in enumerate(rounds, start=1):
        moved = builder.node("Add", [_shifted(builder, best, by), total], x.shape)
        best = builder.node("Max", [best, moved], x.shape)
        if index < len(rounds):
            total = builder.node("Add", [total, _shifted(builder, total, by)], x.shape)
    return best


def _shifted(builder: GraphBuilder, x: Value, by: tuple[int, int, int, int]) -> Value:
    """Cut off at one end, then padded at the other: not every runtime pads by negative numbers."""
    left, right, top, bottom = by
    starts, ends = (max(-top, 0), max(-left, 0)), (x.shape[2] + min(bottom, 0), x.shape[3] + min(right, 0))
    shape = (*x.shape[:2], ends[0] - starts[0], ends[1] - starts[1])
    bounds = [builder.integers(name, values) for name, values in (("starts", starts), ("ends", ends), ("axes", (2, 3)))]
    cut = builder.node("Slice", [x, *bounds], shape)
    return pad(builder, cut, [max(side, 0) for side in by])
