"""What an engine is expected to hold, from shapes alone: enough to bound how many are live at once.

On a GPU this is too little by what nobody tells beforehand: the scratch memory of TensorRT's engines (told once they are built,
and then believed), workspaces of cuDNN and cuBLAS, what allocators round up to. `memory_fraction` leaves room for that, and a
group that runs out of memory all the same is divided.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from models.spec.graphs import ContextBase
from models.spec.operators import DTYPE_BYTES, OperatorSpec

ENGINE_OVERHEAD_BYTES = 2 * 2**20
"""A runtime's own structures per engine; ONNX Runtime takes 1 to 2 MB for a session of a few nodes on a CPU. No GPU runtime was
measured."""

_WEIGHT_COPIES = 2
"""The graph's own and the one packed for the kernels."""


def operator_bytes(operator: OperatorSpec, *, in_context: bool) -> int:
    """An upper bound for every kind: input, two maps of the output's size, weights twice; and in context the prefix's map."""
    maps = (2 if in_context else 1) * prod(operator.input_shape) + 2 * prod(operator.output_shape)
    return ENGINE_OVERHEAD_BYTES + (maps + _WEIGHT_COPIES * _weights(operator)) * DTYPE_BYTES[operator.dtype]


def base_bytes(base: ContextBase) -> int:
    """The prefix's map, and what the engine takes anyhow."""
    return ENGINE_OVERHEAD_BYTES + base.batch * base.channels * base.height * base.width * DTYPE_BYTES[base.dtype]


def network_bytes(operators: Iterable[OperatorSpec]) -> int:
    """Weights of all operators, and the largest maps of one of them twice: others are reused from layer to layer, but
    branches keep some alive.
    """
    listed = list(operators)
    weights = sum(_WEIGHT_COPIES * _weights(operator) * DTYPE_BYTES[operator.dtype] for operator in listed)
    largest = max((prod(op.input_shape) + 2 * prod(op.output_shape)) * DTYPE_BYTES[op.dtype] for op in listed)
    return ENGINE_OVERHEAD_BYTES * (1 + len(listed) // 8) + weights + 2 * largest


def _weights(operator: OperatorSpec) -> int:
    """At most two convolutions."""
    kernel, groups = int(operator.attributes.get("kernel", 3)), int(operator.attributes.get("groups", 1))
    widest = max(operator.in_channels, operator.out_channels)
    return 2 * kernel**2 * widest * operator.out_channels // groups
