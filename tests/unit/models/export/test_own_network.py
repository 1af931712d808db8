"""ONNX files and exported modules of somebody's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models.export.own_network import exported, read_network
from models.networks.own_module import load_module
from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest, OwnNetwork

Sides = Sequence[int | str]
SHAPE: Sides = (1, 3, 8, 16)


def value(name: str, shape: Sides | None = SHAPE, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[onnx.NodeProto] | None = None,
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
    *,
    weight: onnx.TensorProto | None = None,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """By default a product with a weight for each channel."""
    weight = weight or numpy_helper.from_array(np.ones((3, 1, 1), np.float32), "w")
    graph = helper.make_graph(
        nodes or [helper.make_node("Mul", ["x", "w"], ["y"])],
        "net",
        inputs or [value("x")],
        outputs or [value("y")],
        [weight],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def saved(tmp_path: Path, network: onnx.ModelProto) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(network.SerializeToString())
    return path


def test_a_file_that_is_all_there_is(tmp_path: Path) -> None:
    network, data = read_network(saved(tmp_path, model()), None)
    assert (network.name, network.input_shape, network.label()) == ("net.onnx", SHAPE, "net.onnx 1×3×8×16")
    assert GraphRequest.model_validate(GraphRequest(subject=network).model_dump()).subject == network
    assert onnx.load_model_from_string(data).graph.node[0].op_type == "Mul"
    other, _ = read_network(saved(tmp_path, model([helper.make_node("Add", ["x", "w"], ["y"])])), None)
    assert other.key() != network.key()


def test_open_sides_are_closed_by_the_shape_that_is_given(tmp_path: Path) -> None:
    open_sides = model(inputs=[value("x", ("n", 3, "h", "w"))], outputs=[value("y", ("n", 3, "h", "w"))])
    path = saved(tmp_path, open_sides)
    with pytest.raises(InvalidSpecError, match=r"input 'x' has shape \?×3×\?×\?, with open sides \(dynamic axes\)") as raised:
        read_network(path, None)
    assert "--input" in raised.value.hint
    network, data = read_network(path, (2, 3, 4, 5))
    assert network.input_shape == (2, 3, 4, 5)
    (session_output,) = onnxruntime.InferenceSession(data).run(None, {"x": np.ones((2, 3, 4, 5), np.float32)})
    assert session_output.shape == (2, 3, 4, 5)
    assert [side.dim_value for side in onnx.load_model_from_string(data).graph.output[0].type.tensor_type.shape.dim] == [
        2,
        3,
        4,
        5,
    ]


def test_a_side_of_minus_one_is_open(tmp_path: Path) -> None:
    path = saved(tmp_path, model(inputs=[value("x", (-1, 3, 8, 16))], outputs=[value("y", (-1, 3, 8, 16))]))
    with pytest.raises(InvalidSpecError, match=r"has shape \?×3×8×16, with open sides"):
        read_network(path, None)
    assert read_network(path, (1, 3, 8, 16))[0].input_shape == (1, 3, 8, 16)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 3, -8, 8), (1, 3, 8, 10**23), (512, 3, 8, 8)])
def test_shapes_that_cannot_be_measured(tmp_path: Path, shape: tuple[int, int, int, int]) -> None:
    path = saved(tmp_path, model(inputs=[value("x", ("n", "c", "h", "w"))], outputs=[value("y", None)]))
    with pytest.raises(InvalidSpecError, match="cannot be measured") as raised:
        read_network(path, shape)
    assert "at most 256×16384×16384×16384" in raised.value.hint


def external() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.ones((3, 1, 1), np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


CUSTOM = [helper.make_node("MyOp", ["x", "w"], ["y"], name="special", domain="com.example")]
NONZERO = [
    helper.make_node("NonZero", ["x"], ["i"]),
    helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
    helper.make_node("Mul", ["f", "f"], ["y"]),
]


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (model([helper.make_node("Add", ["x", "z"], ["y"])], [value("x"), value("z")]), "has 2 inputs (x, z)"),
        (model(outputs=[value("y"), value("w", (3, 1, 1))]), "has 2 outputs (y, w)"),
        (model(weight=external()), "tensor 'w' lies in another file (external data)"),
        (model(CUSTOM, domains=["com.example"]), "node 'special' is com.example.MyOp, a custom operator"),
        (model(NONZERO, outputs=[value("y", None)]), "the shape of output 'y' is not known before it runs"),
        (model(NONZERO, outputs=[value("y", (4, "k"))]), "the shape of output 'y' is not known before it runs"),
        (model(inputs=[value("x", (1, 3))]), "input 'x' has shape 1×3; four sides are needed"),
        (model(inputs=[value("x", kind=TensorProto.FLOAT16)]), "input 'x' is float16; only float32"),
        (model(outputs=[value("y", kind=TensorProto.INT64)]), "output 'y' is int64; only float32"),
    ],
)
def test_networks_that_cannot_be_measured(tmp_path: Path, network: onnx.ModelProto, says: str) -> None:
    path = saved(tmp_path, network)
    with pytest.raises(InvalidSpecError) as raised:
        read_network(path, None)
    assert str(path) in raised.value.message
    assert says in raised.value.message


def test_another_shape_than_the_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match="has shape 1×3×8×16, not 1×3×8×32"):
        read_network(saved(tmp_path, model()), (1, 3, 8, 32))


@pytest.mark.parametrize("data", [b"", b"hello, this is no network", b"\x08\x08"])
def test_files_that_are_no_onnx(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(InvalidSpecError, match="is no ONNX file"):
        read_network(path, None)
    with pytest.raises(InvalidSpecError, match="cannot be read"):
        read_network(tmp_path / "nothing.onnx", None)


def test_a_file_of_three_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.touch()
    os.truncate(path, 3 * 2**30)  # takes no room on the disk
    with pytest.raises(InvalidSpecError, match="has 3221225472 bytes; an ONNX file has at most 2147483647"):
        read_network(path, None)


PLACE = "tests.support.own_networks:"


def own(name: str) -> OwnNetwork:
    return OwnNetwork(name=PLACE + name, input_shape=(1, 3, 16, 32))


def test_a_module_is_exported_as_it_computes(capfd: pytest.CaptureFixture[str]) -> None:
    module = load_module(PLACE + "Net")
    data = exported(module, own("Net"))
    images = torch.rand(1, 3, 16, 32)
    (output,) = onnxruntime.InferenceSession(data).run(["output"], {"input": images.numpy()})
    np.testing.assert_allclose(output, module(images).detach().numpy(), atol=1e-6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("DataDependentShape", "the shape of output"),
        (
            "Branching",
            "not exported by torch.onnx.export(dynamo=True): its shapes or its control flow depend on the data",
        ),
    ],
)
def test_modules_that_are_not_exported(name: str, says: str) -> None:
    with pytest.raises(InvalidSpecError) as raised:
        exported(load_module(PLACE + name), own(name))
    assert PLACE + name in raised.value.message
    assert says in raised.value.message
    assert "\n" not in raised.value.message


def test_a_module_too_large_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.export.own_network.MAX_ONNX_BYTES", 100)
    with pytest.raises(InvalidSpecError, match="bytes of weights; an ONNX file has at most 100"):
        exported(load_module(PLACE + "Net"), own("Net"))
