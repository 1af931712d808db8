"""How functions of torch and methods of tensors are written in ONNX: arithmetic, reductions, matrix products.

Parameters are named as torch's, since a module may call them by name.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.export.emitters import UnsupportedPrimitiveError, emits, resized
from models.export.graph_builder import GraphBuilder, Value
from models.operators.layers import BILINEAR

Operand = Value | Tensor | float
Dims = int | Sequence[int] | None

_AXES_AS_INPUT = 18
"""The operator set from which on the other reductions take their axes as `ReduceSum` has since 13."""


def _binary(builder: GraphBuilder, op_type: str, left: Operand, right: Operand) -> Value:
    x, y = builder.operand(left), builder.operand(right)
    return builder.node(op_type, [x, y], np.broadcast_shapes(x.shape, y.shape))


@emits(operator.add, operator.iadd, torch.add, "add")
def _add(builder: GraphBuilder, input: Operand, other: Operand) -> Value:  # noqa: A002
    return _binary(builder, "Add", input, other)


@emits(operator.sub, operator.isub, torch.sub, "sub")
def _sub(builder: GraphBuilder, input: Operand, other: Operand) -> Value:  # noqa: A002
    return _binary(builder, "Sub", input, other)


@emits(operator.mul, operator.imul, torch.mul, "mul")
def multiply(builder: GraphBuilder, input: Operand, other: Operand) -> Value:  # noqa: A002
    """A product, element by element."""
    return _binary(builder, "Mul", input, other)


@emits(operator.truediv, operator.itruediv, torch.div, "div")
def _div(builder: GraphBuilder, input: Operand, other: Operand) -> Value:  # noqa: A002
    return _binary(builder, "Div", input, other)


@emits(torch.maximum, "maximum")
def _maximum(builder: GraphBuilder, input: Operand, other: Operand) -> Value:  # noqa: A002
    return _binary(builder, "Max", input, other)


@emits(torch.minimum, "minimum")
def _minimum(builder: GraphBuilder, input: Operand, other: Operand) -> Value:  # noqa: A002
    return _binary(builder, "Min", input, other)


@emits(operator.neg, torch.neg, "neg")
def _neg(builder: GraphBuilder, input: Value) -> Value:  # noqa: A002
    return builder.node("Neg", [input], input.shape)


@emits(torch.clamp, "clamp")
def _clamp(builder: GraphBuilder, input: Value, min: Operand | None = None, max: Operand | None = None) -> Value:  # noqa: A002
    if any(isinstance(bound, Value | Tensor) and tuple(bound.shape) for bound in (min, max)):
        raise UnsupportedPrimitiveError("a clamp between tensors cannot be exported, only between numbers")
    low, high = ("" if bound is None else builder.operand(bound) for bound in (min, max))
    return builder.node("Clip", [input, low, high], input.shape)


def activation(builder: GraphBuilder, name: str, x: Value) -> Value:
    """The layer of torch.nn without weights that has that name, on every element."""
    match name:
        case "ReLU6":
            return _clamp(builder, x, 0.0, 6.0)
        case "SiLU":
            return multiply(builder, x, builder.node("Sigmoid", [x], x.shape))
        case "Hardswish":
            return builder.node("HardSwish", [x], x.shape)
        case "Hardsigmoid":
            return builder.node("HardSigmoid", [x], x.shape, alpha=1 / 6, beta=0.5)
        case _:
            return builder.node(name, [x], x.shape)


@emits(torch.sigmoid, functional.sigmoid, "sigmoid")
def _sigmoid(builder: GraphBuilder, input: Value) -> Value:  # noqa: A002
    return activation(builder, "Sigmoid", input)


@emits(torch.tanh, functional.tanh, "tanh")
def _tanh(builder: GraphBuilder, input: Value) -> Value:  # noqa: A002
    return activation(builder, "Tanh", input)


@emits(functional.relu, torch.relu, "relu")
def _relu(builder: GraphBuilder, input: Value, inplace: bool = False) -> Value:  # noqa: A002
    return builder.node("Relu", [input], input.shape)


@emits(functional.relu6)
def _relu6(builder: GraphBuilder, input: Value, inplace: bool = False) -> Value:  # noqa: A002
    return activation(builder, "ReLU6", input)


@emits(functional.silu)
def _silu(builder: GraphBuilder, input: Value, inplace: bool = False) -> Value:  # noqa: A002
    return activation(builder, "SiLU", input)


@emits(functional.hardswish)
def _hardswish(builder: GraphBuilder, input: Value, inplace: bool = False) -> Value:  # noqa: A002
    return activation(builder, "Hardswish", input)


@emits(functional.hardsigmoid)
def _hardsigmoid(builder: GraphBuilder, input: Value, inplace: bool = False) -> Value:  # noqa: A002
    return activation(builder, "Hardsigmoid", input)


@emits(functional.softmax, torch.softmax, "softmax")
def softmax(
    builder: GraphBuilder,
    input: Value,  # noqa: A002
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> Value:
    """A softmax over one dimension. Raises UnsupportedPrimitiveError."""
    if dim is None or dtype is not None:
        raise UnsupportedPrimitiveError("a softmax without dim, or in a dtype of its own, cannot be exported")
    return builder.node("Softmax", [input], input.shape, axis=dim)


def _reduced(builder: GraphBuilder, op_type: str, x: Value, dim: Dims, keepdim: bool) -> Value:
    rank = len(x.shape)
    given = range(rank) if dim is None or dim == () else (dim,) if isinstance(dim, int) else dim
    axes = sorted(axis % rank for axis in given)
    shape = tuple(1 if i in axes else side for i, side in enumerate(x.shape) if keepdim or i not in axes)
    if op_type == "ReduceSum" or builder.opset >= _AXES_AS_INPUT:
        return builder.node(op_type, [x, builder.integers("axes", axes)], shape, keepdims=int(keepdim))
    return builder.node(op_type, [x], shape, axes=axes, keepdims=int(keepdim))


@emits(torch.mean, "mean")
def _mean(builder: GraphBuilder, input: Value, dim: Dims = None, keepdim: bool = False) -> Value:  # noqa: A002
    return _reduced(builder, "ReduceMean", input, dim, keepdim)


@emits(torch.sum, "sum")
def _sum(builder: GraphBuilder, input: Value, dim: Dims = None, keepdim: bool = False) -> Value:  # noqa: A002
    return _reduced(builder, "ReduceSum", input, dim, keepdim)


@emits(torch.amax, "amax")
def _amax(builder: GraphBuilder, input: Value, dim: Dims = None, keepdim: bool = False) -> Value:  # noqa: A002
    return _reduced(builder, "ReduceMax", input, dim, keepdim)


@emits(torch.amin, "amin")
def _amin(builder: GraphBuilder, input: Value, dim: Dims = None, keepdim: bool = False) -> Value:  # noqa: A002
    return _reduced(builder, "ReduceMin", input, dim, keepdim)


class _Extremes(tuple[Value, ...]):
    """What torch gives for the extreme along a dimension: its values. Where they lie is not exported."""

    __slots__ = ()

    @property
    def values(self) -> Value:
        return self[0]

    @property
    def indices(self) -> Value:
        """Raises UnsupportedPrimitiveError."""
        return self[1]

    def __getitem__(self, index: object) -> Value:  # type: ignore[override]
        """Raises UnsupportedPrimitiveError for all but the values."""
        if index not in (0, -2):
            raise UnsupportedPrimitiveError("where along a dimension an extreme lies cannot be exported")
        return super().__getitem__(0)


@emits(torch.max, "max")
def _max(builder: GraphBuilder, input: Operand, dim: Operand | None = None, keepdim: bool = False) -> Value | _Extremes:  # noqa: A002
    return _extreme(builder, "Max", input, dim, keepdim)


@emits(torch.min, "min")
def _min(builder: GraphBuilder, input: Operand, dim: Operand | None = None, keepdim: bool = False) -> Value | _Extremes:  # noqa: A002
    return _extreme(builder, "Min", input, dim, keepdim)


def _extreme(builder: GraphBuilder, which: str, x: Operand, dim: Operand | None, keepdim: bool) -> Value | _Extremes:
    """Of all elements, along a dimension, or of two tensors: torch has one name for the three."""
    if dim is None:
        return _reduced(builder, f"Reduce{which}", builder.operand(x), None, keepdim)
    if isinstance(dim, int):
        return _Extremes((_reduced(builder, f"Reduce{which}", builder.operand(x), dim, keepdim),))
    return _binary(builder, which, x, dim)


@emits(operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm")
def _matmul(builder: GraphBuilder, input: Operand, other: Operand) -> Value:  # noqa: A002
    x, y = builder.operand(input), builder.operand(other)
    if min(len(x.shape), len(y.shape)) < 2:
        raise UnsupportedPrimitiveError(f"a product of {x.shape} and {y.shape} cannot be exported, only of matrices")
    shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
    return builder.node("MatMul", [x, y], shape)


@emits(functional.linear)
def linear(builder: GraphBuilder, input: Value, weight: Tensor, bias: Tensor | None = None) -> Value:  # noqa: A002
    """A linear layer on the last dimension. Raises UnsupportedPrimitiveError where its weight depends on the input."""
    if not isinstance(weight, Tensor):
        raise UnsupportedPrimitiveError("a linear layer whose weight depends on the input cannot be exported")
    shape = (*input.shape[:-1], weight.shape[0])
    product = builder.node("MatMul", [input, builder.weight("weight", weight.t())], shape)
    return product if bias is None else builder.node("Add", [product, builder.weight("bias", bias)], shape)


@emits(functional.scaled_dot_product_attention)
def _attention(builder: GraphBuilder, query: Value, key: Value, value: Value, *, scale: float | None = None) -> Value:
    scores = _matmul(builder, query, transposed(builder, key, -1, -2))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return _matmul(builder, softmax(builder, multiply(builder, scores, factor), -1), value)


def reshaped(builder: GraphBuilder, x: Value, shape: tuple[int, ...]) -> Value:
    """The same elements in that shape."""
    return builder.node("Reshape", [x, builder.integers("shape", shape)], shape)


@emits(torch.transpose, "transpose")
def transposed(builder: GraphBuilder, input: Value, dim0: int, dim1: int) -> Value:  # noqa: A002
    """With two dimensions exchanged."""
    order = list(range(len(input.shape)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return builder.node("Transpose", [input], tuple(input.shape[i] for i in order), perm=order)


@emits(functional.pad)
def pad(
    builder: GraphBuilder,
    input: Value,  # noqa: A002
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Value:
    """Padded at the last dimensions, the last one first. Raises UnsupportedPrimitiveError."""
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    if mode not in modes or min(pad) < 0:
        raise UnsupportedPrimitiveError(f"padding by {tuple(pad)}, mode {mode!r}, cannot be exported")
    rank, count = len(input.shape), len(pad) // 2
    before, after = [0] * rank, [0] * rank
    for index in range(count):
        before[rank - 1 - index], after[rank - 1 - index] = pad[2 * index], pad[2 * index + 1]
    shape = tuple(side + b + a for side, b, a in zip(input.shape, before, after, strict=True))
    inputs: list[Value | str] = [input, builder.integers("pads", [*before, *after])]
    if mode == "constant":
        inputs.append(builder.operand(value or 0.0))
    return builder.node("Pad", inputs, shape, mode=modes[mode])


@emits(functional.interpolate)
def _interpolate(
    builder: GraphBuilder,
    input: Value,  # noqa: A002
    size: int | tuple[int, int] | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Value:
    if mode not in (BILINEAR, "nearest") or antialias or len(input.shape) != 4:
        raise UnsupportedPrimitiveError(f"interpolation in mode {mode!r} cannot be exported")
    if size is None:
        assert scale_factor is not None
        factors = (scale_factor,) * 2 if isinstance(scale_factor, int | float) else scale_factor
        sides = [side * factor for side, factor in zip(input.shape[2:], factors, strict=True)]
        if any(side != int(side) for side in sides):
            raise UnsupportedPrimitiveError(f"interpolation of {input.shape} by {scale_factor} cannot be exported")
        size = (int(sides[0]), int(sides[1]))
    height, width = (size, size) if isinstance(size, int) else size
    return resized(builder, input, (height, width), mode=mode, align_corners=bool(align_corners))
