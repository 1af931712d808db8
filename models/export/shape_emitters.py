"""How functions that only rearrange a tensor's elements are written in ONNX, or computed where they ask for its shape."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from models.export.emitters import UnsupportedPrimitiveError, emits
from models.export.graph_builder import GraphBuilder, Value
from models.export.tensor_emitters import reshaped


def _on_meta(x: Value) -> torch.Tensor:
    """A tensor of that shape without elements: torch itself says which shape a view has."""
    return torch.empty(x.shape, device="meta")


@emits(getattr)
def _attribute(_builder: GraphBuilder, owner: Any, name: str) -> Any:
    if not isinstance(owner, Value):
        return getattr(owner, name)
    if name in ("shape", "ndim"):
        return torch.Size(owner.shape) if name == "shape" else len(owner.shape)
    raise UnsupportedPrimitiveError(f"a tensor's {name} cannot be exported")


@emits("size")
def _size(_builder: GraphBuilder, x: Value, dim: int | None = None) -> Any:
    return torch.Size(x.shape) if dim is None else x.shape[dim]


@emits("dim")
def _dim(_builder: GraphBuilder, x: Value) -> int:
    return len(x.shape)


@emits("numel")
def _numel(_builder: GraphBuilder, x: Value) -> int:
    return prod(x.shape)


@emits("contiguous")
def _contiguous(_builder: GraphBuilder, x: Value) -> Value:
    return x


@emits(torch.reshape, "reshape", "view")
def _reshape(builder: GraphBuilder, x: Value, *shape: Any) -> Value:
    return reshaped(builder, x, tuple(_on_meta(x).reshape(*shape).shape))


@emits(torch.flatten, "flatten")
def _flatten(builder: GraphBuilder, input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:  # noqa: A002
    return reshaped(builder, input, tuple(_on_meta(input).flatten(start_dim, end_dim).shape))


@emits("unflatten")
def _unflatten(builder: GraphBuilder, x: Value, dim: int, sizes: Sequence[int]) -> Value:
    return reshaped(builder, x, tuple(_on_meta(x).unflatten(dim, tuple(sizes)).shape))


@emits(torch.squeeze, "squeeze")
def _squeeze(builder: GraphBuilder, input: Value, dim: int | None = None) -> Value:  # noqa: A002
    empty = _on_meta(input)
    return reshaped(builder, input, tuple((empty.squeeze() if dim is None else empty.squeeze(dim)).shape))


@emits(torch.unsqueeze, "unsqueeze")
def _unsqueeze(builder: GraphBuilder, input: Value, dim: int) -> Value:  # noqa: A002
    return reshaped(builder, input, tuple(_on_meta(input).unsqueeze(dim).shape))


@emits(torch.permute, "permute")
def _permute(builder: GraphBuilder, x: Value, *dims: Any) -> Value:
    given = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    order = [dim % len(x.shape) for dim in given]
    return builder.node("Transpose", [x], tuple(x.shape[i] for i in order), perm=order)


@emits("expand", "expand_as")
def _expand(builder: GraphBuilder, x: Value, *sizes: Any) -> Value:
    wanted = (tuple(sizes[0].shape),) if isinstance(sizes[0], Value) else sizes
    shape = tuple(_on_meta(x).expand(*wanted).shape)
    return builder.node("Expand", [x, builder.integers("shape", shape)], shape)


@emits(torch.split, "split")
def _split(
    builder: GraphBuilder, tensor: Value, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Value, ...]:
    return _parts(builder, tensor, _on_meta(tensor).split(split_size_or_sections, dim), dim)


@emits(torch.chunk, "chunk")
def _chunk(builder: GraphBuilder, input: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:  # noqa: A002
    return _parts(builder, input, _on_meta(input).chunk(chunks, dim), dim)


def _parts(builder: GraphBuilder, x: Value, parts: Sequence[torch.Tensor], dim: int) -> tuple[Value, ...]:
    sizes = builder.integers("sizes", [part.shape[dim] for part in parts])
    return builder.nodes("Split", [x, sizes], [tuple(part.shape) for part in parts], axis=dim)


@emits(operator.getitem)
def _item(builder: GraphBuilder, owner: Any, index: Any) -> Any:
    """A part of a tensor by numbers and slices; of anything else, what Python has there."""
    if not isinstance(owner, Value):
        return owner[index]
    keys = list(index) if isinstance(index, tuple) else [index]
    if not all(key is None or key is Ellipsis or isinstance(key, int | slice) for key in keys):
        raise UnsupportedPrimitiveError(f"a tensor at {index!r} cannot be exported, only at numbers and slices")
    shape = tuple(_on_meta(owner)[index].shape)
    at = next((i for i, key in enumerate(keys) if key is Ellipsis), len(keys))
    named = sum(key is not None and key is not Ellipsis for key in keys)
    keys[at : at + 1] = [slice(None)] * (len(owner.shape) - named)
    starts, ends, axes, steps, sliced = [], [], [], [], list(owner.shape)
    for axis, key in enumerate(key for key in keys if key is not None):
        whole = range(owner.shape[axis])
        taken = whole[key] if isinstance(key, slice) else whole[key : key + 1 or None]
        sliced[axis] = len(taken)
        if len(taken) != len(whole):
            starts.append(taken.start)
            ends.append(taken.stop)
            axes.append(axis)
            steps.append(taken.step)
    part = owner
    if axes:
        bounds = zip(("starts", "ends", "axes", "steps"), (starts, ends, axes, steps), strict=True)
        part = builder.node("Slice", [owner, *(builder.integers(*bound) for bound in bounds)], tuple(sliced))
    return part if part.shape == shape else reshaped(builder, part, shape)
