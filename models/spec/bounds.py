"""How large an operator can be, by arithmetic on its shapes alone: known in every process, before anything is built.

A function of `Sizes` says it for a kind (`KindInfo.bounds`). Its numbers may be arrays, one element for each row of a table, so
that it uses nothing but arithmetic; where it does use more, rows are checked one by one, which is slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Number = Any
"""An int, or an array of float64."""


@dataclass(frozen=True)
class Sizes:
    """The shapes of an operator.

    Attributes:
        in_channels, out_channels: of its input and output.
        widest: the larger of the two.
        in_pixels, out_pixels: height times width of its input and output.
        batch: images.
        attributes: of its kind, complete.
        keeps_width_inside, has_weights: as of `KindInfo`; an operator that is the identity has no weights.
    """

    in_channels: Number
    out_channels: Number
    widest: Number
    in_pixels: Number
    out_pixels: Number
    batch: int
    attributes: Mapping[str, Any]
    keeps_width_inside: bool = False
    has_weights: bool = True

    def attribute(self, name: str, default: int) -> int:
        """That attribute as a number; the default where the kind does not have it."""
        return int(self.attributes.get(name, default))


@dataclass(frozen=True)
class Bounds:
    """Upper bounds of what an operator takes.

    Attributes:
        weights: numbers in its weights.
        inner: numbers in the largest map between input and output, all images together.
        macs: multiply-adds of all layers, all images together, counted as in `models.operators.costs`.
    """

    weights: Number
    inner: Number
    macs: Number


BoundsOf = Callable[[Sizes], Bounds]

_BESIDE_WEIGHTS = 14
"""For each output pixel and channel, at the most: two batch normalisations (2 each), two ReLUs (1), two resizes (4)."""


def two_convolutions(sizes: Sizes) -> Bounds:
    """Of a kind that does not say: two convolutions of the widest maps, with the kernel (3 where it has none) and the groups of
    its attributes, each with batch normalisation and ReLU, and two resizes.
    """
    pixels = sizes.batch * sizes.out_pixels
    if not sizes.has_weights:
        return Bounds(weights=0, inner=0, macs=pixels * _BESIDE_WEIGHTS * sizes.widest)
    inner = sizes.in_channels if sizes.keeps_width_inside else sizes.out_channels
    weights = 2 * sizes.attribute("kernel", 3) ** 2 * sizes.widest * inner // sizes.attribute("groups", 1)
    return Bounds(weights=weights, inner=inner * pixels, macs=pixels * (weights + _BESIDE_WEIGHTS * sizes.widest))


_NORM = 2
"""Weights of a batch normalisation for each channel, and its multiply-adds for each number that it writes."""
_RELU = 1
_RESIZE = 4


def _chain(sizes: Sizes, products: Number, layers: int, *, inner: Number, beside: Number = 0) -> Bounds:
    """So many convolutions to the output's channels, each with batch normalisation and ReLU; `products` are their weights."""
    pixels = sizes.batch * sizes.out_pixels
    norms = layers * _NORM * sizes.out_channels
    macs = pixels * (products + norms + layers * _RELU * sizes.out_channels + beside)
    return Bounds(weights=products + norms, inner=inner * pixels, macs=macs)


def one_convolution(sizes: Sizes) -> Bounds:
    """Of a convolution with batch normalisation and ReLU; 3×3 and without groups where its attributes say nothing else."""
    kernel, groups = sizes.attribute("kernel", 3), sizes.attribute("groups", 1)
    products = kernel**2 * sizes.in_channels * sizes.out_channels // groups
    return _chain(sizes, products, 1, inner=sizes.out_channels)


def pointwise(sizes: Sizes) -> Bounds:
    """Of a 1×1 convolution with batch normalisation and ReLU; nothing where it is the identity."""
    if not sizes.has_weights:
        return Bounds(weights=0, inner=0, macs=0)
    return _chain(sizes, sizes.in_channels * sizes.out_channels, 1, inner=sizes.out_channels)


def two_3x3(sizes: Sizes) -> Bounds:
    """Of two 3×3 convolutions in a row."""
    return _chain(sizes, 9 * sizes.out_channels * (sizes.in_channels + sizes.out_channels), 2, inner=sizes.out_channels)


def zoomed(sizes: Sizes) -> Bounds:
    """Of a 3×3 convolution between two resizes, as if it ran at the output's size."""
    products = 9 * sizes.in_channels * sizes.out_channels
    resizes = _RESIZE * (sizes.in_channels + sizes.out_channels)
    return _chain(sizes, products, 1, inner=sizes.widest, beside=resizes)


def zoomed_twice(sizes: Sizes) -> Bounds:
    """Of two of them."""
    products = 9 * sizes.out_channels * (sizes.in_channels + sizes.out_channels)
    resizes = _RESIZE * (sizes.in_channels + sizes.out_channels)
    return _chain(sizes, products, 2, inner=sizes.widest, beside=resizes)


def segmentation_head(sizes: Sizes) -> Bounds:
    """Of a 3×3 convolution at the input's width, and a 1×1 convolution with bias to the classes."""
    pixels, width = sizes.batch * sizes.out_pixels, sizes.in_channels
    products = width * (9 * width + sizes.out_channels)
    weights = products + _NORM * width + sizes.out_channels
    return Bounds(weights=weights, inner=width * pixels, macs=pixels * (products + (_NORM + _RELU) * width))


def resize(sizes: Sizes) -> Bounds:
    """Of one resize."""
    return Bounds(weights=0, inner=0, macs=sizes.batch * sizes.out_pixels * _RESIZE * sizes.out_channels)


def separable_twice(sizes: Sizes) -> Bounds:
    """Of a ReLU, a depthwise and a 1×1 convolution with batch normalisation, twice; the first pair keeps the channels."""
    entering, leaving, kernel = sizes.in_channels, sizes.out_channels, sizes.attribute("kernel", 3)
    products = 2 * kernel**2 * entering + entering * entering + entering * leaving
    return _after_relu(sizes, products, _NORM * (entering + leaving), beside=_RELU * entering)


def separable(sizes: Sizes) -> Bounds:
    """Of a ReLU, a depthwise and a 1×1 convolution with batch normalisation."""
    products = (sizes.attribute("kernel", 3) ** 2 + sizes.out_channels) * sizes.in_channels
    return _after_relu(sizes, products, _NORM * sizes.out_channels)


def skip_connection(sizes: Sizes) -> Bounds:
    """Of a ReLU and a 1×1 convolution with batch normalisation; nothing where it is the identity."""
    if not sizes.has_weights:
        return Bounds(weights=0, inner=0, macs=0)
    return _after_relu(sizes, sizes.in_channels * sizes.out_channels, _NORM * sizes.out_channels)


def _after_relu(sizes: Sizes, products: Number, norms: Number, *, beside: Number = 0) -> Bounds:
    """Of convolutions with these products and normalisations at the output's size, behind a ReLU of the input."""
    relu = _RELU * sizes.in_channels * sizes.in_pixels
    macs = sizes.batch * (relu + sizes.out_pixels * (products + norms + beside))
    return Bounds(weights=products + norms, inner=sizes.batch * sizes.in_channels * sizes.in_pixels, macs=macs)


SQUEEZE = 4
"""The gate of a bottleneck has its input's channels divided by this inside."""


def inverted_bottleneck(sizes: Sizes) -> Bounds:
    """Of a 1×1 convolution to `expansion` times the channels, a depthwise one, a gate by squeeze and excitation, and a 1×1
    convolution to the output's channels.
    """
    entering, leaving, kernel = sizes.in_channels, sizes.out_channels, sizes.attribute("kernel", 3)
    inner = sizes.attribute("expansion", 6) * entering
    squeezed = entering // SQUEEZE + 1
    expand, depthwise, project = entering * inner, kernel**2 * inner, inner * leaving
    gate = 2 * inner * squeezed
    layer = (_NORM + _RELU) * inner
    weights = expand + depthwise + project + gate + squeezed + inner + _NORM * (2 * inner + leaving)
    at_output = depthwise + layer + inner + project + _NORM * leaving
    macs = sizes.batch * (sizes.in_pixels * (expand + layer) + sizes.out_pixels * at_output + gate + squeezed + inner)
    return Bounds(weights=weights, inner=sizes.batch * inner * sizes.in_pixels, macs=macs)


def pooling(sizes: Sizes) -> Bounds:
    """Of a 3×3 pooling."""
    return Bounds(weights=0, inner=0, macs=9 * sizes.batch * sizes.out_pixels * sizes.out_channels)


_DIRECTIONS = 4
"""Of a recurrence; its multiply-adds count as one ReLU for each number that it writes."""


def _recurrences(sizes: Sizes, out_channels: Number) -> tuple[Number, Number, Number]:
    """Products, weights in all, and multiply-adds besides products for each pixel, of one round of recurrences."""
    projected = sizes.in_channels * (1 if sizes.attribute("shared", 1) else _DIRECTIONS)
    gathered = _DIRECTIONS * sizes.in_channels
    products = sizes.in_channels * projected + gathered * out_channels
    return products, products + projected + _NORM * out_channels, _RELU * gathered + _NORM * out_channels


def irnn(sizes: Sizes) -> Bounds:
    """Of a projection, recurrences in four directions, and their merging."""
    products, weights, beside = _recurrences(sizes, sizes.out_channels)
    pixels = sizes.batch * sizes.out_pixels
    return Bounds(weights=weights, inner=_DIRECTIONS * sizes.in_channels * pixels, macs=pixels * (products + beside))


def adaptive_attention(sizes: Sizes) -> Bounds:
    """Of rounds of recurrences, the convolutions that weigh them, and a gate for channels."""
    channels, rounds = sizes.in_channels, sizes.attribute("rounds", 2)
    half, narrow = channels // 2 + 1, channels // sizes.attribute("reduction", 16) + 1
    products, weights, beside = _recurrences(sizes, channels)
    weighing = 9 * half * (channels + half) + _DIRECTIONS * half
    gating = 2 * channels * narrow
    pixels = sizes.batch * sizes.out_pixels
    once = sizes.batch * (gating + narrow + channels)
    per_pixel = rounds * (products + beside) + weighing + 2 * half + _DIRECTIONS + 3 * channels
    return Bounds(
        weights=rounds * weights + weighing + 2 * half + _DIRECTIONS + gating,
        inner=_DIRECTIONS * channels * pixels,
        macs=pixels * per_pixel + once,
    )
