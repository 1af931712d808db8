"""What each kind computes, said once more with torch's functions and the module's own weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.operators.layers import build_operator
from models.operators.seeded_weights import fill, random_input
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec


def _operator(kind: str, *, stride: int = 1, out_channels: int = 10, **attributes: Any) -> tuple[nn.Module, Tensor]:
    spec = OperatorSpec(
        kind=kind, in_channels=8, out_channels=out_channels, height=9, width=12, stride=stride, attributes=attributes
    )
    return fill(build_operator(spec), spec.key()), torch.from_numpy(random_input(spec.input_shape, spec.key()))


def _norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def _bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("size", [(6, 8), (5, 8), (1, 7)])
def test_a_factorised_skip_sees_the_map_and_the_map_shifted_by_a_pixel(size: tuple[int, int]) -> None:
    """With even sides as FasterSeg's code has it. Where they are odd, zeros follow; one pixel is not shifted away."""
    spec = OperatorSpec(
        kind="skip", in_channels=8, out_channels=5, height=size[0], width=size[1], stride=2, attributes={"factorised": True}
    )
    skip: Any = fill(build_operator(spec), spec.key())
    x = torch.from_numpy(random_input(spec.input_shape, spec.key()))
    moved = x[:, :, int(size[0] > 1) :, 1:]
    moved = F.pad(moved, (0, size[1] - moved.shape[3], 0, size[0] - moved.shape[2]))  # as large as the map again
    parts = [(x, skip.conv1, skip.bn1), (moved, skip.conv2, skip.bn2)]
    expected = torch.cat([_norm(F.conv2d(y, conv.weight, stride=2), norm) for y, conv, norm in parts], dim=1)
    torch.testing.assert_close(skip(x), F.relu(expected))
    assert [conv.weight.shape[0] for _, conv, _ in parts] == [2, 3]


def test_a_factorised_skip_is_an_operator_of_its_own_at_stride_2_alone() -> None:
    """Its plain form keeps the key that it had before there was the other: it does not say that it is plain."""
    fields = {"kind": "skip", "in_channels": 8, "out_channels": 16, "height": 8, "width": 8, "stride": 2}
    plain, stated = (OperatorSpec(**fields, attributes=given) for given in ({}, {"factorised": False}))
    assert plain == stated
    assert (plain.attributes, plain.key()) == ({}, "f6b1d1155ad365e6")
    factorised = OperatorSpec.parse({**fields, "attributes": {"factorised": True}})
    assert factorised.key() != plain.key()
    assert "factorised=True" in factorised.label()
    with pytest.raises(InvalidSpecError, match="'factorised' of kind 'skip' is True with stride 1; it is possible only with"):
        OperatorSpec.parse({**fields, "stride": 1, "attributes": {"factorised": True}})
    with pytest.raises(InvalidSpecError, match="out_channels 1: a factorised skip has two convolutions"):
        build_operator(OperatorSpec.parse({**fields, "out_channels": 1, "attributes": {"factorised": True}}))


def test_skip_is_the_identity_where_shapes_allow() -> None:
    skip, x = _operator("skip", out_channels=8)
    assert torch.equal(skip(x), x)


@pytest.mark.parametrize(("stride", "out_channels"), [(1, 10), (2, 8), (2, 10)])
def test_skip_is_a_pointwise_convolution_elsewhere(stride: int, out_channels: int) -> None:
    skip, x = _operator("skip", stride=stride, out_channels=out_channels)
    expected = F.relu(_norm(F.conv2d(x, skip.conv1.weight, stride=stride), skip.bn1))
    torch.testing.assert_close(skip(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_conv3x3_twice_has_its_stride_first(stride: int) -> None:
    twice, x = _operator("conv3x3_x2", stride=stride)
    y = F.relu(_norm(F.conv2d(x, twice.conv1.weight, stride=stride, padding=1), twice.bn1))
    expected = F.relu(_norm(F.conv2d(y, twice.conv2.weight, padding=1), twice.bn2))
    torch.testing.assert_close(twice(x), expected)


def test_zoomed_convolutions_run_at_half_size_with_the_relu_after_zooming_back() -> None:
    zoomed, x = _operator("zoomed_conv3x3_x2")
    y = F.relu(_norm(F.conv2d(_bilinear(x, (4, 6)), zoomed.conv1.weight, padding=1), zoomed.bn1))
    y = _norm(F.conv2d(y, zoomed.conv2.weight, padding=1), zoomed.bn2)
    torch.testing.assert_close(zoomed(x), F.relu(_bilinear(y, (9, 12))))


def test_zoomed_convolution_of_stride_2_stays_at_half_size() -> None:
    zoomed, x = _operator("zoomed_conv3x3", stride=2)
    y = _norm(F.conv2d(_bilinear(x, (5, 6)), zoomed.conv1.weight, padding=1), zoomed.bn1)
    torch.testing.assert_close(zoomed(x), F.relu(y))


def test_resize_mode_and_corners_are_attributes() -> None:
    aligned, x = _operator("upsample", out_channels=8, scale=3)
    free, _ = _operator("upsample", out_channels=8, scale=3, align_corners=False)
    nearest, _ = _operator("upsample", out_channels=8, scale=3, resize="nearest")
    torch.testing.assert_close(aligned(x), _bilinear(x, (27, 36)))
    torch.testing.assert_close(free(x), F.interpolate(x, scale_factor=3, mode="bilinear", align_corners=False))
    torch.testing.assert_close(nearest(x), x.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3))


def test_grouped_and_dilated_convolution() -> None:
    conv, x = _operator("conv_bn_relu", kernel=5, groups=2, dilation=2)
    expected = F.relu(_norm(F.conv2d(x, conv.conv1.weight, padding=4, dilation=2, groups=2), conv.bn1))
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize(("in_channels", "mid_channels"), [(64, 64), (256, 256), (258, 129)])
def test_segmentation_head_halves_only_wide_inputs(in_channels: int, mid_channels: int) -> None:
    spec = OperatorSpec(kind="segmentation_head", in_channels=in_channels, out_channels=19, height=4, width=4)
    with torch.device("meta"):
        head = build_operator(spec)
    assert head.conv1.weight.shape == (mid_channels, in_channels, 3, 3)
    assert head.classify.weight.shape == (19, mid_channels, 1, 1)
    assert head.classify.bias is not None
