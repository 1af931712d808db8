"""Layers of a network as graphs that can be timed: in context, and what is subtracted (docs/own-network.md).

As for operators (docs/measurement.md) the prefix is a 1×1 convolution from 4 channels, one for each map that the layer reads;
the suffix is a global average. A map that is smaller than the largest is made from the input's upper left part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from models.export.divided import Division, Layer, Shape
from models.spec.base import digest
from models.spec.graphs import PREFIX_CHANNELS

_INPUT, _OUTPUT = "context.input", "context.output"


def input_shape(maps: Iterable[Shape]) -> tuple[int, int, int, int]:
    """NCHW shape of the input of a graph that makes those maps."""
    shapes = list(maps)
    return (shapes[0][0], PREFIX_CHANNELS, max(shape[2] for shape in shapes), max(shape[3] for shape in shapes))


def in_context(layer: Layer, division: Division) -> bytes:
    """The ONNX graph of the layer between prefix and suffix; without a suffix where it ends the network.

    All maps that it reads but the first are averaged too, so that it differs from its base in the layer alone. A concatenation
    is averaged as a whole instead.
    """
    context = _Context(layer.inputs.values())
    for name, shape in layer.inputs.items():
        context.prefix(name, shape)
    context.nodes += layer.nodes
    context.constants += layer.constants.values()
    if layer.last:
        return context.model(division, layer.output, layer.output_shape)
    others = [] if layer.operators[0] == "Concat" else list(layer.inputs.items())[1:]
    return context.averaged(division, [(layer.output, layer.output_shape), *others])


def base(maps: Sequence[Shape], division: Division) -> bytes:
    """The ONNX graph of prefixes and suffix alone, for a layer that reads maps of those shapes."""
    context = _Context(maps)
    named = [(f"map{index}", shape) for index, shape in enumerate(maps)]
    for name, shape in named:
        context.prefix(name, shape)
    return context.averaged(division, named)


class _Context:
    """Collects a graph from one input of four channels. `maps`: shapes of all that is made from it."""

    def __init__(self, maps: Iterable[Shape]) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._shape = input_shape(maps)

    def prefix(self, name: str, shape: Shape) -> None:
        """Make a map of that name and shape from the input."""
        number, source = len(self.nodes), _INPUT
        if shape[2:] != self._shape[2:]:
            source = f"context.part{number}"
            bounds = [f"context.{what}{number}" for what in ("starts", "ends", "axes")]
            for bound, values in zip(bounds, ((0, 0), shape[2:], (2, 3)), strict=True):
                self.constants.append(numpy_helper.from_array(np.asarray(values, np.int64), bound))
            self.nodes.append(helper.make_node("Slice", [_INPUT, *bounds], [source]))
        weight, bias = f"context.weight{number}", f"context.bias{number}"
        rng = np.random.default_rng([number, shape[1]])
        values = rng.standard_normal((shape[1], PREFIX_CHANNELS, 1, 1), dtype=np.float32) / PREFIX_CHANNELS**0.5
        self.constants.append(numpy_helper.from_array(values, weight))
        self.constants.append(numpy_helper.from_array(0.1 * rng.standard_normal(shape[1], dtype=np.float32), bias))
        self.nodes.append(helper.make_node("Conv", [source, weight, bias], [name], kernel_shape=[1, 1]))

    def averaged(self, division: Division, maps: Sequence[tuple[str, Shape]]) -> bytes:
        """The finished graph; its output is the averages of those maps, N×C×1×1."""
        channels = sum(shape[1] for _, shape in maps)
        averages = [f"context.average{index}" for index in range(len(maps))]
        for (name, _), average in zip(maps, averages, strict=True):
            self.nodes.append(helper.make_node("GlobalAveragePool", [name], [average]))
        if len(averages) == 1:
            return self.model(division, averages[0], (self._shape[0], channels, 1, 1))
        self.nodes.append(helper.make_node("Concat", averages, [_OUTPUT], axis=1))
        return self.model(division, _OUTPUT, (self._shape[0], channels, 1, 1))

    def model(self, division: Division, output: str, shape: Shape) -> bytes:
        """The finished graph with that value as output."""
        graph = helper.make_graph(
            self.nodes,
            "layer",
            [helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, self._shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            self.constants,
        )
        opset = helper.make_opsetid("", division.opset)
        data: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=division.ir_version).SerializeToString()
        return data


def signature(layer: Layer) -> str:
    """16 hex digits that layers share which compute the same on maps of the same shapes, but for the values of weights."""
    numbers = {name: f"map{index} {shape}" for index, (name, shape) in enumerate(layer.inputs.items())}
    for name, tensor in layer.constants.items():
        numbers[name] = f"{tensor.data_type} {list(tensor.dims)} {_content(tensor)}"
    for index, node in enumerate(layer.nodes):
        numbers |= dict.fromkeys(node.output, f"value{index}")
    nodes = [
        [
            node.op_type,
            [numbers.get(name, "") for name in node.input],
            sorted(str(attribute) for attribute in node.attribute),
        ]
        for node in layer.nodes
    ]
    return digest("layer", [nodes, list(layer.output_shape), layer.last])


def _content(tensor: TensorProto) -> str:
    """What of a constant changes the work: bounds, sizes and exponents, not weights."""
    array = numpy_helper.to_array(tensor)
    if array.dtype == np.float32 and array.size > 1:
        return ""
    return hashlib.sha256(array.tobytes()).hexdigest()


def memory_bytes(layer: Layer) -> int:
    """What an engine of the layer in context is expected to hold: its weights, and a map for each node and each prefix."""
    weights = sum(numpy_helper.to_array(tensor).nbytes for tensor in layer.constants.values())
    maps = [*layer.inputs.values(), *[layer.output_shape] * len(layer.nodes)]
    return weights + 4 * sum(int(np.prod(shape)) for shape in maps)


__all__ = ["base", "in_context", "input_shape", "memory_bytes", "signature"]
