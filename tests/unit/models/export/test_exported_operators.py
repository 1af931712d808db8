"""Every kind, at every stride and many shapes, as a graph that another runtime computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from models.networks.module import build_module
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.kinds import kind_info, kind_names
from models.spec.operators import OperatorSpec
from models.testing.operators import needed_attributes

TOLERANCE = 1e-5
SIZES = ((1, 1), (1, 5), (2, 3), (7, 9), (16, 32))
CHANNELS = ((7, 16), (16, 16), (24, 18))  # of fewer, a ReLU may close all


def _specs(kind: str) -> Iterator[OperatorSpec]:
    info = kind_info(kind)
    for stride in info.strides:
        for in_channels, out_channels in CHANNELS:
            for height, width in SIZES:
                yield OperatorSpec(
                    kind=kind,
                    in_channels=in_channels,
                    out_channels=info.allowed_channels(in_channels, out_channels),
                    height=height,
                    width=width,
                    stride=stride,
                    attributes=needed_attributes(kind, in_channels, (height, width)),
                )


@pytest.mark.parametrize("in_context", [False, True], ids=["alone", "in_context"])
@pytest.mark.parametrize("kind", kind_names())
def test_graph_and_module_agree(kind: str, in_context: bool, relative_error: Any) -> None:
    for spec in _specs(kind):
        request = GraphRequest(subject=spec, in_context=in_context)
        assert relative_error(build_module(request), request.input_shape) <= TOLERANCE, request.label()


@pytest.mark.parametrize(
    "attributes",
    [{"kernel": 1}, {"kernel": 5}, {"kernel": 7, "dilation": 3}, {"groups": 4}, {"groups": 8, "dilation": 2}],
    ids=str,
)
@pytest.mark.parametrize("stride", [1, 2])
def test_attributes_of_convolutions(attributes: dict[str, int], stride: int, relative_error: Any) -> None:
    spec = OperatorSpec(
        kind="conv_bn_relu", in_channels=8, out_channels=16, height=9, width=12, stride=stride, attributes=attributes
    )
    assert relative_error(build_module(GraphRequest(subject=spec)), spec.input_shape) <= TOLERANCE


def test_gates_of_a_pixel_and_sums_of_many(relative_error: Any) -> None:
    for kind, attributes in (("scale", {"gate": "pixel"}), ("add", {"sources": 5})):
        spec = OperatorSpec(kind=kind, in_channels=6, out_channels=6, height=5, width=7, batch=2, attributes=attributes)
        for in_context in (False, True):
            request = GraphRequest(subject=spec, in_context=in_context)
            assert relative_error(build_module(request), request.input_shape) <= TOLERANCE, request.label()


@pytest.mark.parametrize("attributes", [{"align_corners": False}, {"resize": "nearest"}], ids=str)
@pytest.mark.parametrize("kind", ["zoomed_conv3x3", "zoomed_conv3x3_x2", "upsample"])
def test_attributes_of_resizing(kind: str, attributes: dict[str, Any], relative_error: Any) -> None:
    for height, width in ((1, 1), (2, 2), (7, 9), (16, 32)):
        spec = OperatorSpec(kind=kind, in_channels=8, out_channels=8, height=height, width=width, attributes=attributes)
        assert relative_error(build_module(GraphRequest(subject=spec)), spec.input_shape) <= TOLERANCE, spec.label()


@pytest.mark.parametrize(("height", "width", "to"), [(14, 20, (2, 9)), (224, 160, (32, 96)), (9, 10, (14, 31)), (1, 3, (5, 3))])
def test_the_nearest_pixels_are_torchs(height: int, width: int, to: tuple[int, int], relative_error: Any) -> None:
    """Where the quotient of two sides is not exact, a runtime's own rule may take a neighbour."""
    spec = OperatorSpec(
        kind="resize",
        in_channels=2,
        out_channels=2,
        height=height,
        width=width,
        attributes={"to_height": to[0], "to_width": to[1], "resize": "nearest"},
    )
    assert relative_error(build_module(GraphRequest(subject=spec)), spec.input_shape) <= TOLERANCE


def test_batches(relative_error: Any) -> None:
    spec = OperatorSpec(kind="zoomed_conv3x3", in_channels=4, out_channels=6, height=6, width=8, batch=3)
    request = GraphRequest(subject=spec, in_context=True)
    assert relative_error(build_module(request), request.input_shape) <= TOLERANCE


def test_base_of_a_context(relative_error: Any) -> None:
    request = GraphRequest(subject=ContextBase(channels=20, height=7, width=9))
    assert relative_error(build_module(request), request.input_shape) <= TOLERANCE
