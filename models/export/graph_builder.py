"""An ONNX graph under construction: values with static shapes, nodes, weights as raw bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor

from models.spec.graphs import IR_VERSION, opset_of
from models.spec.operators import Dtype

_ELEMENT_TYPES = {
    "float32": (TensorProto.FLOAT, torch.float32),
    "float16": (TensorProto.FLOAT16, torch.float16),
    "bfloat16": (TensorProto.BFLOAT16, torch.bfloat16),
}
_PRODUCER = "opclock"
_OUTPUT = "output"


@dataclass(frozen=True)
class Value:
    """A tensor in the graph: its name and static NCHW shape."""

    name: str
    shape: tuple[int, ...]


class GraphBuilder:
    """Collects nodes and weights of one graph, all in one dtype.

    Everything is written into the model where it stays: helpers that assemble a model from parts copy every weight
    twice, which costs more than all the rest.

    Args:
        dtype: of everything.
        unrolled: see `to_onnx`.
    """

    def __init__(self, dtype: Dtype, *, unrolled: bool = False) -> None:
        self.unrolled = unrolled
        self._element_type, self._torch_dtype = _ELEMENT_TYPES[dtype]
        self.opset = opset_of(dtype)
        self._model = onnx.ModelProto(ir_version=IR_VERSION, producer_name=_PRODUCER)
        self._model.opset_import.append(helper.make_opsetid("", self.opset))
        self._graph = self._model.graph
        self._names = {_OUTPUT}
        self._scope = ""

    def enter(self, scope: str) -> None:
        """Name all following nodes after that layer."""
        self._scope = scope

    def input(self, name: str, shape: tuple[int, ...]) -> Value:
        """The graph's input."""
        return Value(self._unique(name), shape)

    def node(self, op_type: str, inputs: Sequence[Value | str], shape: tuple[int, ...], **attributes: Any) -> Value:
        """Add a node with one output.

        Args:
            op_type: the ONNX operator.
            inputs: values, names of weights, or "" for an optional input left out.
            shape: of the output.
            attributes: of the node, plain numbers, strings or lists of numbers.
        """
        (output,) = self.nodes(op_type, inputs, [shape], **attributes)
        return output

    def nodes(
        self, op_type: str, inputs: Sequence[Value | str], shapes: Sequence[tuple[int, ...]], **attributes: Any
    ) -> tuple[Value, ...]:
        """Add a node with one output for each of the shapes; see `node`."""
        outputs = [self._unique(self._scope or op_type) for _ in shapes]
        names = [item.name if isinstance(item, Value) else item for item in inputs]
        self._graph.node.append(helper.make_node(op_type, names, outputs, name=outputs[0], **attributes))
        return tuple(starmap(Value, zip(outputs, shapes, strict=True)))

    @property
    def written(self) -> Sequence[onnx.NodeProto]:
        """The nodes so far."""
        nodes: Sequence[onnx.NodeProto] = self._graph.node
        return nodes

    def operand(self, item: Value | Tensor | float) -> Value:
        """What a module computes with as a value: a tensor or a number becomes a weight in the graph's dtype."""
        if isinstance(item, Value):
            return item
        tensor = torch.as_tensor(item, dtype=torch.float32)
        return Value(self.weight("constant", tensor), tuple(tensor.shape))

    def weight(self, name: str, tensor: Tensor) -> str:
        """Add a weight in the graph's dtype. Returns its name in the graph."""
        data = tensor.detach().to(self._torch_dtype).contiguous().flatten()
        return self._constant(name, self._element_type, tuple(tensor.shape), data.view(torch.uint8).numpy().tobytes())

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Add a vector of int64. Returns its name in the graph."""
        array: NDArray[np.int64] = np.asarray(values, dtype=np.int64)
        return self._constant(name, TensorProto.INT64, array.shape, array.tobytes())

    def model(self, name: str, source: Value, result: Value) -> onnx.ModelProto:
        """The finished graph from `source` to `result`; its input is called `input`, its output `output`."""
        output = self.node("Identity", [result], result.shape) if result == source else result
        self._rename(output.name, _OUTPUT)
        self._graph.name = name
        self._graph.input.append(helper.make_tensor_value_info(source.name, self._element_type, source.shape))
        self._graph.output.append(helper.make_tensor_value_info(_OUTPUT, self._element_type, output.shape))
        return self._model

    def _constant(self, name: str, element_type: int, shape: tuple[int, ...], raw: bytes) -> str:
        constant = self._graph.initializer.add()
        constant.name = self._unique(f"{self._scope}.{name}")
        constant.data_type = element_type
        constant.dims.extend(shape)
        constant.raw_data = raw
        return str(constant.name)

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self._names:
            count += 1
            candidate = f"{name}_{count}"
        self._names.add(candidate)
        return candidate

    def _rename(self, old: str, new: str) -> None:
        for node in self._graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
