"""A network's ONNX graph divided into layers: a node and the cheap nodes behind it that runtimes fuse with it.

A layer is a chain. Each of its values but the last is read by its next node alone, so that it has one output and the layers
come one after another. Nodes that form no layer that can be timed are listed with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

from models.spec import limits
from models.spec.errors import InvalidSpecError

Shape = tuple[int, ...]

OLDEST_OPSET = 13
"""The first operator set in which all that stands around a layer has its present form."""

_FUSED = frozenset(
    {
        "Add",
        "BatchNormalization",
        "Clip",
        "Div",
        "Dropout",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Mul",
        "PRelu",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Sub",
        "Tanh",
    }
)
"""Operators that runtimes fuse with the node before them. They read and write each element once."""


@dataclass(frozen=True)
class Layer:
    """A part of the network that can be timed.

    Attributes:
        name: that of its first weight, or of its first node.
        nodes: in order, each the only reader of the one before it.
        inputs: name to NCHW shape of the maps that it reads, each once.
        output: name of the map that it makes. output_shape: NCHW.
        constants: weights and other constants that its nodes read.
        macs: multiply-adds of its convolutions and matrix products.
        last: whether its output is the network's.
    """

    name: str
    nodes: tuple[NodeProto, ...]
    inputs: Mapping[str, Shape]
    output: str
    output_shape: Shape
    constants: Mapping[str, TensorProto]
    macs: int
    last: bool

    @property
    def operators(self) -> tuple[str, ...]:
        """Types of its nodes."""
        return tuple(node.op_type for node in self.nodes)

    def label(self) -> str:
        """For people: `Conv 3×3 64→128 /2 +Relu @32×64`; the size is that of the output."""
        first, *others = self.nodes
        channels = "+".join(str(shape[1]) for shape in self.inputs.values())
        if self.output_shape[1] != sum(shape[1] for shape in self.inputs.values()):
            channels += f"→{self.output_shape[1]}"
        words = [first.op_type, *self._kernel(), *_details(first), channels, *(f"+{node.op_type}" for node in others)]
        return f"{' '.join(words)} @{self.output_shape[2]}×{self.output_shape[3]}"

    def _kernel(self) -> Iterator[str]:
        """The size of its window, which a convolution may leave to its weight."""
        first = self.nodes[0]
        given = [list(attribute.ints) for attribute in first.attribute if attribute.name == "kernel_shape"]
        if not given and first.op_type in ("Conv", "ConvTranspose") and (weight := self.constants.get(first.input[1])):
            given = [list(weight.dims[2:])]
        yield from ("×".join(map(str, sides)) for sides in given)


@dataclass(frozen=True)
class NotDivided:
    """Nodes that are no layer that can be timed.

    Attributes:
        name: of the first. operators: types of all. macs: their multiply-adds.
        why: the reason.
    """

    name: str
    operators: tuple[str, ...]
    macs: int
    why: str


@dataclass(frozen=True)
class Division:
    """A network in layers.

    Attributes:
        layers: in the order in which they run.
        not_divided: everything else.
        opset: version of the operators.
        ir_version: of the file.
    """

    layers: tuple[Layer, ...]
    not_divided: tuple[NotDivided, ...]
    opset: int
    ir_version: int


def divide(data: bytes) -> Division:
    """The layers of the network in an ONNX file with static shapes.

    Raises:
        InvalidSpecError: `onnxscript`, which folds constants, is not installed; or the file's operators are too old, or are
            refused by it or by ONNX's shape inference.
    """
    model = _folded(onnx.load_model_from_string(data))
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < OLDEST_OPSET:
        raise InvalidSpecError(
            f"the network has operators of version {opset}; only from {OLDEST_OPSET} on are networks divided into layers",
            hint="Export it again, or convert it with onnx.version_converter; --no-layers measures the whole alone.",
        )
    graph = _Graph.of(model)
    parts = [graph.layer(chain) for chain in graph.chains()]
    layers = tuple(part for part in parts if isinstance(part, Layer))
    return Division(layers, tuple(part for part in parts if isinstance(part, NotDivided)), opset, model.ir_version)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its functions inlined, everything that is constant computed, and the shape of every value."""
    try:
        from onnxscript import optimizer
    except ImportError as error:
        raise InvalidSpecError(
            f"dividing a network into layers needs {error.name}",
            hint="pip install onnxscript; or --no-layers, which measures the whole alone.",
        ) from error
    try:
        folded: onnx.ModelProto = optimizer.optimize(model)
        del folded.graph.value_info[:]
        return shape_inference.infer_shapes(folded, data_prop=True)
    except Exception as error:  # both raise errors of several roots
        raise InvalidSpecError(
            f"the network cannot be divided into layers: {type(error).__name__}: {error}",
            hint="--no-layers measures the whole alone.",
        ) from error


@dataclass
class _Graph:
    """What is asked of a graph while it is divided."""

    nodes: Sequence[NodeProto]
    constants: dict[str, TensorProto]
    shapes: dict[str, Shape]
    output: str
    readers: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Graph:
        graph = model.graph
        constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and (tensor := _constant(node)) is not None:
                constants[node.output[0]] = tensor
        nodes = [node for node in graph.node if node.output[0] not in constants]
        output = graph.output[0].name
        readers = Counter(name for node in nodes for name in node.input if name)
        readers[output] += 1
        shapes = {name: tuple(tensor.dims) for name, tensor in constants.items()}
        for value in (*graph.value_info, *graph.input, *graph.output):
            kind = value.type.tensor_type
            sides = tuple(side.dim_value for side in kind.shape.dim)
            if kind.elem_type == TensorProto.FLOAT and kind.HasField("shape") and all(sides):
                shapes[value.name] = sides
        return cls(nodes, constants, shapes, output, readers)

    def chains(self) -> list[list[NodeProto]]:
        """All nodes, each in one chain."""
        chains: list[list[NodeProto]] = []
        makers: dict[str, list[NodeProto]] = {}
        order: dict[int, int] = {}
        for node in self.nodes:
            before = [makers[name] for name in node.input if name in makers]
            chain = max(before, key=lambda chain: order[id(chain)], default=None)
            if chain is None or not self._joins(node, chain):
                chain = []
                order[id(chain)] = len(order)
                chains.append(chain)
            chain.append(node)
            makers |= dict.fromkeys(filter(None, node.output), chain)
        return chains

    def _joins(self, node: NodeProto, chain: Sequence[NodeProto]) -> bool:
        """Whether the node is fused with the chain, being all that reads it."""
        last = chain[-1]
        if len(list(filter(None, last.output))) != 1 or self.readers[last.output[0]] != 1:
            return False
        return node.op_type in _FUSED and last.output[0] in node.input

    def layer(self, chain: Sequence[NodeProto]) -> Layer | NotDivided:
        """The chain as a layer, or why it is none."""
        made = {name for node in chain for name in node.output}
        read = list(dict.fromkeys(name for node in chain for name in node.input if name and name not in made))
        maps = [name for name in read if name not in self.constants]
        output, macs = chain[-1].output[0], sum(map(self._macs, chain))
        if why := self._obstacle(chain, maps, output):
            return NotDivided(chain[0].name or output, tuple(node.op_type for node in chain), macs, why)
        constants = {name: self.constants[name] for name in read if name in self.constants}
        weight = next((name for node in chain for name in node.input[1:2] if name in constants and "." in name), None)
        return Layer(
            name=weight.rpartition(".")[0] if weight else chain[0].name or output,
            nodes=tuple(chain),
            inputs={name: self.shapes[name] for name in maps},
            output=output,
            output_shape=self.shapes[output],
            constants=constants,
            macs=macs,
            last=output == self.output,
        )

    def _obstacle(self, chain: Sequence[NodeProto], maps: Sequence[str], output: str) -> str:
        """Why the chain cannot be timed by itself; empty where it can."""
        if any(len([name for name in node.output if self.readers[name]]) > 1 for node in chain):
            return "it has several outputs"
        if any(attribute.HasField("g") or attribute.graphs for node in chain for attribute in node.attribute):
            return "it has an inner graph"
        if not maps:
            return "it reads no map"
        for name in (*maps, output):
            shape = self.shapes.get(name)
            if shape is None:
                return f"{name!r} is not float32 of a static shape"
            if len(shape) != 4:
                return f"{name!r} has {len(shape)} sides, not 4"
            if shape[0] > limits.MAX_BATCH or max(shape[2:]) > limits.MAX_SIDE:
                most = f"{limits.MAX_BATCH} images of {limits.MAX_SIDE}×{limits.MAX_SIDE}"
                return f"{name!r} is {'×'.join(map(str, shape))}, more than {most}"
        batches = {self.shapes[name][0] for name in (*maps, output)}
        return f"its maps have different numbers of images: {sorted(batches)}" if len(batches) > 1 else ""

    def _macs(self, node: NodeProto) -> int:
        """Multiply-adds; 0 where a shape is not known."""
        shapes = [self.shapes.get(name) for name in (*node.input[:2], node.output[0])]
        if len(shapes) != 3 or None in shapes:
            return 0
        source, weight, made = (shape or () for shape in shapes)
        if node.op_type == "Conv":
            return prod(made) * prod(weight[1:])
        if node.op_type == "ConvTranspose":
            return prod(source) * prod(weight[1:])
        if node.op_type == "Gemm":
            return prod(made) * prod(weight) // max(made[-1], 1)
        return prod(made) * source[-1] if node.op_type == "MatMul" else 0


def _constant(node: NodeProto) -> TensorProto | None:
    """What a node of type `Constant` holds; None for what is no tensor of numbers."""
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(value)
    elif attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
        kind = np.float32 if "float" in attribute.name else np.int64
        tensor = numpy_helper.from_array(np.asarray(value, kind))
    else:
        return None
    tensor.name = node.output[0]
    return tensor


def _details(node: NodeProto) -> Iterator[str]:
    """What distinguishes a node from others of its type, in short."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    for name, sign in (("strides", "/"), ("dilations", "dilated ")):
        if any(side != 1 for side in given.get(name, ())):
            yield sign + "×".join(map(str, sorted(set(given[name]))))
    if given.get("group", 1) != 1:
        yield f"in {given['group']} groups"
    if "mode" in given and node.op_type == "Resize":
        yield given["mode"].decode()


__all__ = ["Division", "Layer", "NotDivided", "divide"]
