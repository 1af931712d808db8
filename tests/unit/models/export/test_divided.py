"""A network divided into layers: which they are, that nothing is lost, and what is not divided."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from models.export.divided import Division, Layer, divide
from models.export.layer_graphs import base, in_context, input_shape, signature
from models.spec.errors import InvalidSpecError

SHAPE = (1, 3, 32, 64)


def conv(source: str, made: str, weight: str, **attributes: object) -> NodeProto:
    return helper.make_node("Conv", [source, weight], [made], **attributes)


def network(nodes: Sequence[NodeProto], weights: dict[str, np.ndarray], *, opset: int = 17) -> bytes:
    """From `x` to `y`."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape, dtype=np.float32) / 4


@pytest.fixture(scope="module")
def branches() -> bytes:
    """Padding, a residual, pooling, a gate, a size that is computed from another map's, and a concatenation."""
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        conv("padded", "a", "one.weight", strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        conv("b", "c", "two.weight", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        conv("f", "g", "three.weight", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["g"], ["h"]),
        conv("h", "i", "gate.weight"),
        helper.make_node("Sigmoid", ["i"], ["j"]),
        helper.make_node("Mul", ["j", "g"], ["k"]),
        helper.make_node("Shape", ["k"], ["k_shape"], end=2),
        helper.make_node("Shape", ["e"], ["e_shape"], start=2),
        helper.make_node("Concat", ["k_shape", "e_shape"], ["sizes"], axis=0),
        helper.make_node("Resize", ["k", "", "", "sizes"], ["l"], mode="linear"),
        helper.make_node("Concat", ["l", "e"], ["m"], axis=1),
        conv("m", "y", "last.weight"),
    ]
    weights = {
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "one.weight": normal(8, 3, 3, 3),
        "two.weight": normal(8, 8, 3, 3),
        "three.weight": normal(8, 8, 3, 3),
        "gate.weight": normal(8, 8, 1, 1),
        "last.weight": normal(5, 16, 1, 1),
    }
    return network(nodes, weights)


def alone(layer: Layer, division: Division) -> ReferenceEvaluator:
    """The layer without context."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in layer.inputs.items()]
    output = helper.make_tensor_value_info(layer.output, TensorProto.FLOAT, layer.output_shape)
    graph = helper.make_graph(layer.nodes, "layer", inputs, [output], list(layer.constants.values()))
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", division.opset)]))


def test_layers_one_after_another_are_the_network(branches: bytes) -> None:
    division = divide(branches)
    assert [layer.operators for layer in division.layers] == [
        ("Conv", "Relu"),
        ("Conv", "Add", "Relu"),
        ("MaxPool",),
        ("Conv",),
        ("GlobalAveragePool",),
        ("Conv", "Sigmoid", "Mul"),
        ("Resize",),
        ("Concat",),
        ("Conv",),
    ]
    assert division.not_divided == ()
    assert [layer.last for layer in division.layers] == [False] * 8 + [True]
    assert division.layers[0].name == "one"
    assert division.layers[0].macs == 8 * 3 * 9 * 16 * 32
    assert division.layers[1].label() == "Conv 3×3 8 +Add +Relu @16×32"
    values = {"x": normal(*SHAPE)}
    (expected,) = onnxruntime.InferenceSession(branches).run(None, values)
    for layer in division.layers:
        (values[layer.output],) = alone(layer, division).run(None, {name: values[name] for name in layer.inputs})
        assert values[layer.output].shape == layer.output_shape
    np.testing.assert_allclose(values["y"], expected, atol=1e-5)


def test_every_layer_runs_in_context_and_differs_from_its_base_in_itself(branches: bytes) -> None:
    """The parts of both graphs are those that the protocol names, and the runtime takes them."""
    division = divide(branches)
    for layer in division.layers:
        maps = list(layer.inputs.values())
        images = np.ones(input_shape(maps), np.float32)
        graphs = [onnx.load_model_from_string(data) for data in (in_context(layer, division), base(maps, division))]
        for graph in graphs:
            onnx.checker.check_model(graph, full_check=True)
            (output,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"context.input": images})
            assert np.isfinite(output).all()
        context, subtracted = ([node.op_type for node in graph.graph.node] for graph in graphs)
        assert subtracted.count("Conv") == subtracted.count("GlobalAveragePool") == len(maps)
        added = [kind for kind in context if kind in layer.operators or kind not in ("Conv", "GlobalAveragePool", "Slice")]
        assert set(layer.operators) <= set(added)
        averages = 0 if layer.last else 1 if layer.operators[0] == "Concat" else len(maps)
        assert context.count("GlobalAveragePool") - layer.operators.count("GlobalAveragePool") == averages


def test_layers_are_alike_that_differ_in_weights_alone() -> None:
    clips = {"low": np.float32(0), "six": np.float32(6), "one": np.float32(1)}
    weights = {f"{name}.weight": (index + 1) * normal(3, 3, 3, 3) for index, name in enumerate("abcd")}
    nodes = [
        conv("x", "a", "a.weight", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["a", "low", "six"], ["a6"]),
        conv("a6", "b", "b.weight", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["b", "low", "six"], ["b6"]),
        conv("b6", "c", "c.weight", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c", "low", "one"], ["c1"]),
        conv("c1", "d", "d.weight", pads=[2, 2, 2, 2], dilations=[2, 2]),
        helper.make_node("Clip", ["d", "low", "six"], ["d6"]),
        helper.make_node("MaxPool", ["d6"], ["y"], kernel_shape=[2, 2]),
    ]
    first, second, bound, dilated, _ = map(signature, divide(network(nodes, weights | clips)).layers)  # type: ignore[arg-type]
    assert first == second
    assert len({first, bound, dilated}) == 3


def test_what_is_not_divided_is_named_with_its_reason() -> None:
    nodes = [
        conv("x", "a", "a.weight", pads=[1, 1, 1, 1]),
        helper.make_node("Split", ["a"], ["b", "c"], axis=1, num_outputs=2, name="halves"),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("Reshape", ["d", "sides"], ["e"], name="flat"),
        helper.make_node("Transpose", ["e"], ["f"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["f", "again"], ["g"], name="back"),
        helper.make_node("Relu", ["g"], ["y"]),
    ]
    weights = {"a.weight": normal(4, 3, 3, 3), "sides": np.array([1, 2, 1, 32, 64]), "again": np.array([1, 2, 32, 64])}
    division = divide(network(nodes, weights, opset=18))
    assert [layer.operators for layer in division.layers] == [("Conv",), ("Add",)]
    assert [(part.operators, part.why) for part in division.not_divided] == [
        (("Split",), "it has several outputs"),
        (("Reshape",), "'e' has 5 sides, not 4"),
        (("Transpose",), "'e' has 5 sides, not 4"),
        (("Reshape", "Relu"), "'f' has 5 sides, not 4"),
    ]


def test_a_layer_that_is_larger_than_any_network_may_be_is_not_divided() -> None:
    """Such as the tokens of a transformer."""
    nodes = [
        conv("x", "a", "a.weight", pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["a", "tokens"], ["b"], name="tokens"),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Reshape", ["c", "again"], ["y"], name="back"),
    ]
    weights = {"a.weight": normal(4, 3, 3, 3), "tokens": np.array([2048, 4, 1, 1]), "again": np.array([1, 4, 32, 64])}
    division = divide(network(nodes, weights, opset=18))
    assert [layer.operators for layer in division.layers] == [("Conv",)]
    assert {part.why for part in division.not_divided} == {"'c' is 2048×4×1×1, more than 256 images of 16384×16384"}


def test_networks_that_are_not_divided_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])
    with pytest.raises(InvalidSpecError, match="operators of version 11; only from 13 on") as raised:
        divide(network([pool], {}, opset=11))
    assert "--no-layers" in raised.value.hint
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InvalidSpecError, match="needs onnxscript") as raised:
        divide(network([pool], {}))
    assert "pip install onnxscript" in raised.value.hint
