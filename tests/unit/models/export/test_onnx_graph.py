"""What the graphs are made of: what runtimes other than the one that tests them depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.nn import functional

from models.export.either_way import graph_of
from models.export.emitters import UnsupportedPrimitiveError
from models.export.onnx_graph import to_onnx
from models.networks.module import build_module
from models.operators.seeded_weights import fill, random_input
from models.spec.graphs import EXPORTER_VERSION, OPSET, ContextBase, GraphRequest
from models.spec.kinds import kind_info
from models.spec.operators import OperatorSpec
from tests.support.own_networks import shared_convolutions

FASTERSEG = (
    "conv3x3",
    "conv3x3_x2",
    "conv_bn_relu",
    "feature_fusion",
    "segmentation_head",
    "skip",
    "upsample",
    "zoomed_conv3x3",
    "zoomed_conv3x3_x2",
)


def _request(
    kind: str, *, in_channels: int = 8, out_channels: int = 8, stride: int = 1, dtype: Any = "float32"
) -> GraphRequest:
    spec = OperatorSpec(
        kind=kind, in_channels=in_channels, out_channels=out_channels, height=8, width=12, stride=stride, dtype=dtype
    )
    return GraphRequest(subject=spec, in_context=True)


def _graph(request: GraphRequest, dtype: Any = "float32") -> onnx.ModelProto:
    return to_onnx(build_module(request), request.input_shape, dtype=dtype, name=request.key())


def _operations(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_batch_normalisation_is_folded_away() -> None:
    model = _graph(_request("zoomed_conv3x3_x2"))
    assert _operations(model) == ["Conv", "Resize", "Conv", "Relu", "Conv", "Resize", "Relu", "GlobalAveragePool"]


def _structure(model: onnx.ModelProto) -> bytes:
    """The graph but for the numbers of its weights, whose last bit may depend on the machine."""
    for item in model.graph.initializer:
        if item.data_type != TensorProto.INT64:
            item.ClearField("raw_data")
    return model.SerializeToString(deterministic=True)


def test_graphs_of_fastersegs_kinds_are_those_of_exporter_version_1() -> None:
    """When this fails, raise EXPORTER_VERSION: tables would otherwise mix times of different graphs under one key."""
    assert EXPORTER_VERSION == 1
    digest = hashlib.sha256()
    for kind in FASTERSEG:
        info = kind_info(kind)
        for stride, dtype in product(info.strides, ("float32", "bfloat16")):
            request = _request(kind, out_channels=8 if info.keeps_channels else 12, stride=stride, dtype=dtype)
            digest.update(_structure(_graph(request, dtype)))
    assert digest.hexdigest()[:16] == "859ab5c6beafaf99"


def test_an_identity_in_context_is_its_base() -> None:
    """So that their difference is zero but for noise."""
    request = _request("skip")
    base = GraphRequest(subject=ContextBase.of(request.subject))
    assert _operations(_graph(request)) == _operations(_graph(base)) == ["Conv", "GlobalAveragePool"]
    weights = [[item.raw_data for item in _graph(each).graph.initializer] for each in (request, base)]
    assert weights[0] == weights[1]


def test_an_operator_that_ends_a_network_has_no_suffix() -> None:
    assert _operations(_graph(_request("upsample"))) == ["Conv", "Resize"]


def test_a_module_that_does_nothing_still_is_a_graph() -> None:
    model = to_onnx(nn.Identity(), (1, 3, 4, 4), name="nothing")
    onnx.checker.check_model(model, full_check=True)
    assert _operations(model) == ["Identity"]


def test_names_shapes_and_operator_set() -> None:
    request = _request("conv3x3", out_channels=16, stride=2)
    module = build_module(request)[:-1]
    model = to_onnx(module, request.input_shape, name="strided")
    (source,), (result,) = model.graph.input, model.graph.output
    assert (source.name, result.name, model.graph.name) == ("input", "output", "strided")
    shapes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in (source, result)]
    assert shapes == [[1, 4, 8, 12], [1, 16, 4, 6]]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]


def test_resizes_say_all_four_dimensions() -> None:
    """TensorRT's parser takes constant sizes or scales for the whole shape, and no `axes`."""
    model = _graph(_request("zoomed_conv3x3"))
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert [constants[node.input[3]].tolist() for node in resizes] == [[1, 8, 4, 6], [1, 8, 8, 12]]
    for node in resizes:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        assert attributes == {"mode": b"linear", "coordinate_transformation_mode": b"align_corners"}


@pytest.mark.parametrize("kind", ["conv3x3", "zoomed_conv3x3_x2", "segmentation_head"])
def test_float16(kind: str, relative_error: Any) -> None:
    request = _request(kind, out_channels=12)
    assert relative_error(build_module(request), request.input_shape, "float16") <= 2e-3


@pytest.mark.parametrize("kind", ["conv3x3", "zoomed_conv3x3_x2", "segmentation_head"])
def test_bfloat16(kind: str) -> None:
    """By ONNX's own reference, as ONNX Runtime has no bfloat16 convolution on CPUs."""
    request = _request(kind, out_channels=12)
    module, array = build_module(request), random_input(request.input_shape, "test")
    model = to_onnx(module, request.input_shape, dtype="bfloat16", name="test")
    onnx.checker.check_model(model, full_check=True)
    rounded = torch.from_numpy(array).bfloat16()
    with torch.no_grad():
        expected = module(rounded.float()).numpy()
    bfloat16 = onnx.helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    found = np.asarray(ReferenceEvaluator(model).run(None, {"input": array.astype(bfloat16)})[0])
    assert found.dtype == bfloat16
    assert np.linalg.norm(found.astype(np.float32) - expected) <= 2e-2 * np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_everything_is_in_the_dtype_asked_for(dtype: Any) -> None:
    model = _graph(_request("zoomed_conv3x3", out_channels=12), dtype)
    wanted = TensorProto.DataType.Value(dtype.upper())
    weights = [item.data_type for item in model.graph.initializer if item.data_type != TensorProto.INT64]
    assert {*weights, *(value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output))} == {wanted}
    assert "Cast" not in _operations(model)


def test_nothing_is_folded_into_a_convolution_that_others_read_too(relative_error: Any) -> None:
    """They would read the normalised map."""

    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y + self.norm(y)

    module = fill(Forked(), "a")
    assert _operations(to_onnx(module, (1, 3, 4, 4), name="forked")) == ["Conv", "BatchNormalization", "Add"]
    assert relative_error(module, (1, 3, 4, 4)) <= 1e-5


def test_kernels_may_lie_in_memory_with_their_channels_last(relative_error: Any) -> None:
    """As after a training; strides of 1×1 kernels then are unlike those of any other layout."""
    layers = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)
    module = fill(nn.Sequential(*layers), "a").to(memory_format=torch.channels_last)
    assert relative_error(module, (1, 8, 5, 6)) <= 1e-5


@pytest.mark.parametrize("module", shared_convolutions(), ids=["own_norms", "one_norm", "without_norm"])
def test_one_convolution_used_twice(module: nn.Module, relative_error: Any) -> None:
    assert relative_error(module, (2, 3, 5, 6)) <= 1e-5


class _InPlace(nn.Module):
    """A layer or function of a convolution's output, which is read again in the way that is given."""

    def __init__(self, activation: Callable[[Tensor], Tensor], then: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.activation, self.then = nn.Conv2d(3, 3, 1), activation, then

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.then(y, self.activation(y))


def _added_to(y: Tensor) -> Tensor:
    y += 0.25 * y
    y -= 0.5
    return y


def _scaled(y: Tensor) -> Tensor:
    y *= 2
    y /= 3
    return y


def _by_either(module: nn.Module, shape: Any, *, dtype: Any, name: str) -> onnx.ModelProto:
    return graph_of(module, shape, dtype=dtype, name=name)[0]


@pytest.mark.parametrize(
    "module",
    [
        _InPlace(nn.ReLU(inplace=True), lambda y, z: 2 * z + y),
        _InPlace(lambda y: functional.silu(y, inplace=True), lambda y, z: 2 * z + y),
        _InPlace(lambda y: functional.relu(y, True), lambda y, z: y),
        _InPlace(lambda y: functional.relu(y.flatten(2), inplace=True), lambda y, z: y[:, 1:] * 2),
        _InPlace(lambda y: functional.silu(functional.relu(y, inplace=True), inplace=True), lambda y, z: z + y),
        _InPlace(_added_to, lambda y, z: 2 * z + y),
        _InPlace(lambda y: _added_to(y.flatten(2)), lambda y, z: y[:, 1:] * 2),
        _InPlace(_scaled, lambda y, z: y),
    ],
    ids=["layer", "function", "result_unread", "view", "twice", "augmented", "augmented_view", "augmented_result_unread"],
)
def test_what_is_read_after_a_change_in_place_is_left_to_torch(module: nn.Module, relative_error: Any) -> None:
    """A graph's values never change: it would go on with the one from before."""
    fill(module, "a")
    with pytest.raises(UnsupportedPrimitiveError, match="conv is read after it has been changed in place"):
        to_onnx(module, (1, 3, 4, 6), name="stale")
    assert relative_error(module, (1, 3, 4, 6), export=_by_either) <= 1e-5


@pytest.mark.parametrize(
    "module",
    [
        _InPlace(lambda y: y + functional.relu(y * 2, inplace=True), lambda y, z: y + z),
        _InPlace(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)), lambda y, z: (y + z).relu()),
        _InPlace(nn.ReLU(inplace=True), lambda y, z: z + z.mean((2, 3), keepdim=True).expand(y.shape)),
        _InPlace(nn.Dropout(inplace=True), lambda y, z: y + z),
        _InPlace(_added_to, lambda y, z: z),
        _InPlace(lambda y: _scaled(y * 2), lambda y, z: z - y),
    ],
    ids=["of_a_new_tensor", "residual", "shape_read", "nothing_changed", "augmented", "augmented_new_tensor"],
)
def test_other_changes_in_place_are_ours_to_write(module: nn.Module, relative_error: Any) -> None:
    assert relative_error(fill(module, "a"), (1, 3, 4, 6)) <= 1e-5


def test_a_clamp_between_tensors_is_left_to_torch(relative_error: Any) -> None:
    """ONNX Runtime takes scalars alone."""
    low = torch.linspace(-1, 0, 3)[:, None, None]
    module = _InPlace(nn.Identity(), lambda y, _: torch.clamp(y, low, low + 0.5))
    with pytest.raises(UnsupportedPrimitiveError, match="clamp between tensors"):
        to_onnx(fill(module, "a"), (1, 3, 4, 6), name="clamped")
    assert relative_error(module, (1, 3, 4, 6), export=_by_either) <= 1e-5
    scalars = _InPlace(nn.Identity(), lambda y, _: y.clamp(torch.tensor(-0.1), y.max() / 2))
    assert relative_error(fill(scalars, "a"), (1, 3, 4, 6)) <= 1e-5


class _Cumulative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, dim=2)


class _TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class _Method(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1)


class _Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class _TwoOutputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class _Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, x, alpha=2)


class _Place(nn.Module):
    def __init__(self, at: int | str) -> None:
        super().__init__()
        self.at = at

    def forward(self, x: Tensor) -> Tensor:
        found = torch.max(x, dim=1, keepdim=True)
        place: Tensor = found[self.at] if isinstance(self.at, int) else getattr(found, self.at)
        return x + place


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (nn.Sequential(nn.ReLU(), nn.Softshrink()), "Softshrink"),
        (_Place(1), "an extreme lies"),
        (_Place(-1), "an extreme lies"),
        (_Place("indices"), "an extreme lies"),
        (_Cumulative(), "cumsum"),
        (_Method(), "cumsum"),
        (_Branch(), "cannot be traced"),
        (_TwoOutputs(), "a tuple of 2"),
        (_Scaled(), "alpha"),
        (_TwoInputs(), "placeholder of y"),
        (nn.Conv2d(3, 3, 3, padding="same"), "same"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), "reflect"),
        (nn.AdaptiveAvgPool2d(3), "3"),
        (nn.MaxPool2d(2, ceil_mode=True), "ceil_mode"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_nothing_emits_is_named(module: nn.Module, named: str) -> None:
    with pytest.raises(UnsupportedPrimitiveError, match=named):
        to_onnx(module, (1, 3, 4, 4), name="unknown")
