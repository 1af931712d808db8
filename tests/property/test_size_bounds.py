"""The size of an operator is bounded before anything is built; the bound must hold for every kind, and not for nothing."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.operators.costs import operator_costs, operator_size
from models.spec.errors import WorkloadTooLargeError
from models.spec.kinds import kind_info, kind_names
from models.spec.operators import OperatorSpec
from models.testing.operators import needed_attributes


@st.composite
def operators(draw: st.DrawFn) -> OperatorSpec:
    """Any kind, with any stride of it and any shapes; channels are a multiple of the groups."""
    kind = draw(st.sampled_from(kind_names()))
    info = kind_info(kind)
    stride = draw(st.sampled_from(info.strides))
    attributes = {
        name: draw(st.sampled_from(attribute.choices or (attribute.low, attribute.default)))
        for name, attribute in info.attributes.items()
        if attribute.goes_with(stride)
    }
    if "groups" in attributes:
        attributes["groups"] = draw(st.integers(1, 4))
    groups = int(attributes.get("groups", 1))
    in_channels = groups * draw(st.integers(1, 600 // groups))
    out_channels = info.allowed_channels(in_channels, groups * draw(st.integers(1, 600 // groups)))
    if info.sources == "parts":
        in_channels, out_channels = in_channels + 1, out_channels + 1
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    return OperatorSpec(
        kind=kind,
        in_channels=in_channels,
        out_channels=out_channels,
        height=height,
        width=width,
        stride=stride,
        batch=draw(st.integers(1, 3)),
        attributes={**attributes, **needed_attributes(kind, in_channels, (height, width))},
    )


@settings(max_examples=100, deadline=None)
@given(operators())
def test_no_operator_takes_more_than_its_bound(operator: OperatorSpec) -> None:
    size, bounds = operator_size(operator), operator.bounds
    assert size.macs <= bounds.macs
    assert size.weights <= bounds.weights
    assert size.inner <= max(bounds.inner, prod(operator.input_shape), prod(operator.output_shape))


def spec(kind: str, in_channels: int, out_channels: int) -> OperatorSpec:
    return OperatorSpec.parse({"kind": kind, "in_channels": in_channels, "out_channels": out_channels, "height": 4, "width": 4})


def test_wide_heads_are_refused_by_their_first_convolution() -> None:
    """16,384 channels halved inside, for one class: 1.2e9 weights, 4.8 GB."""
    with pytest.raises(WorkloadTooLargeError, match="memory"):
        spec("segmentation_head", 16_384, 1)


@pytest.mark.parametrize("kind", ["skip", "upsample", "add"])
def test_what_has_no_weights_is_not_refused_for_them(kind: str) -> None:
    operator = spec(kind, 16_384, 16_384)
    assert operator_costs(operator).parameters == 0
    with pytest.raises(WorkloadTooLargeError, match="memory"):
        spec("conv3x3", 16_384, 16_384)
