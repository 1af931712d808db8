"""Kinds of operators that may work on a part of a map's channels, and heads, as data.

With attribute `part` = 2 the first half of the channels passes through the operator, and the other half is appended untouched.
Splitting and concatenating is what that costs on a device, so it is part of the operator, and of its key.

Source: RSPNet, eq. 9, after CSPNet (Wang et al., 2020).
"""

from __future__ import annotations

from dataclasses import replace

from models.spec import limits
from models.spec.bounds import Bounds, BoundsOf, Sizes, one_convolution, pointwise
from models.spec.kinds import Attribute, KindInfo

_PART = {"part": Attribute(1, choices=(1, 2))}
_HALF = {"part": Attribute(2, choices=(1, 2))}
_MODULES = "models.operators.partial"


def _inside(sizes: Sizes) -> Sizes:
    """Of what passes through the operator."""
    channels = -(-sizes.in_channels // sizes.attribute("part", 1))
    return replace(sizes, in_channels=channels, out_channels=channels, widest=channels)


def _convolution(kernel: int) -> BoundsOf:
    def bounds(sizes: Sizes) -> Bounds:
        return one_convolution(replace(_inside(sizes), attributes={"kernel": kernel}))

    return bounds


def _depthwise(sizes: Sizes) -> Bounds:
    inside = _inside(sizes)
    second, channels = pointwise(inside), inside.out_channels
    beside = (9 + 3) * channels  # the products of the first convolution; its batch normalisation and ReLU
    weights = second.weights + (9 + 2) * channels
    return Bounds(weights=weights, inner=second.inner, macs=second.macs + sizes.batch * sizes.out_pixels * beside)


def _path(sizes: Sizes) -> Bounds:
    return pointwise(replace(sizes, in_channels=_inside(sizes).in_channels))


CONV5X5 = KindInfo("conv5x5", _PART, strides=(1,), keeps_channels=True, bounds=_convolution(5), builder=f"{_MODULES}:conv5x5")
PARTIAL_CONV3X3 = KindInfo(
    "partial_conv3x3", _HALF, strides=(1,), keeps_channels=True, bounds=_convolution(3), builder=f"{_MODULES}:conv3x3"
)
PARTIAL_CONV1X1 = KindInfo(
    "partial_conv1x1", _HALF, strides=(1,), keeps_channels=True, bounds=_convolution(1), builder=f"{_MODULES}:conv1x1"
)
"""Convolutions of half the channels; those of all are `conv3x3` and `conv_bn_relu`."""

DEPTHWISE3X3 = KindInfo(
    "depthwise3x3", _PART, strides=(1,), keeps_channels=True, bounds=_depthwise, builder=f"{_MODULES}:depthwise3x3"
)
DILATED3X3 = KindInfo(
    "dilated3x3", _PART, strides=(1,), keeps_channels=True, bounds=_convolution(3), builder=f"{_MODULES}:dilated3x3"
)
IDENTITY = KindInfo("identity", strides=(1,), keeps_channels=True, has_weights=False, builder=f"{_MODULES}:identity")
"""Nothing. It has no `part`: half a map unchanged, and the other half untouched, are the map."""

PATH = KindInfo("path", _PART, strides=(1,), bounds=_path, builder=f"{_MODULES}:Path")
"""A 1×1 convolution of the first channels, to as many channels as the output has. Nothing is appended: the untouched half is
that of another map (`last_channels`)."""

LAST_CHANNELS = KindInfo("last_channels", strides=(1,), narrows=True, has_weights=False, builder=f"{_MODULES}:LastChannels")
CLASSIFIER = KindInfo("classifier", strides=(1,), bounds=pointwise, builder=f"{_MODULES}:classifier")
"""A 1×1 convolution with bias alone."""


def _object_context(sizes: Sizes) -> Bounds:
    entering, classes = sizes.in_channels, sizes.out_channels
    wide, narrow = sizes.attribute("channels", 64), sizes.attribute("keys", 32)
    of_objects = 2 * wide * narrow + narrow**2
    of_pixels = entering * (entering + classes + 9 * wide) + 2 * wide * (narrow + wide) + narrow**2 + wide * classes
    norms = entering + 3 * wide + 5 * narrow
    products = classes * (wide + 2 * narrow)  # of regions with pixels, and of pixels with regions, twice
    pixels = sizes.batch * sizes.out_pixels
    return Bounds(
        weights=of_objects + of_pixels + 2 * (norms + classes),
        inner=(entering + 2 * wide + narrow + classes) * pixels + sizes.batch * classes * (wide + narrow),
        macs=pixels * (of_pixels + products + 3 * norms) + sizes.batch * classes * (of_objects + 3 * norms),
    )


OBJECT_CONTEXT_HEAD = KindInfo(
    "object_context_head",
    {"channels": Attribute(64, high=limits.MAX_CHANNELS), "keys": Attribute(32, high=limits.MAX_CHANNELS)},
    strides=(1,),
    bounds=_object_context,
    builder="models.operators.object_context:ObjectContextHead",
)
